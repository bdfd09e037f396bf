//! The value that callers hold: it carries connections, tokens and configuration.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kiln_cache::Blobs;
use kiln_oci::{Descriptor, ImageRef, Platform, TaggedRef};

use crate::blob::BlobReader;
use crate::credentials::Credentials;
use crate::credentials::value::{Credential, Stored};
use crate::error::Error;
use crate::fetch::{FetchOptions, Fetched};
use crate::notice::{Notice, Observer};
use crate::proxy::Proxies;
use crate::pull::PulledImage;
use crate::push::PushImage;
use crate::registries_conf::RegistriesConf;
use crate::resolve::Resolved;
use crate::retry_policy::RetryPolicy;
use crate::secret::Secret;
use crate::session::RegistrySession;
use crate::transport::HttpTransport;
use crate::transport_options::TransportOptions;

/// Blobs that one call downloads or uploads at once. BuildKit has four connections to a registry;
/// Docker takes three down and five up.
const PARALLEL_BLOBS: usize = 4;

/// How a [`Client`] behaves.
#[derive(Clone)]
pub struct ClientOptions {
    /// Where credentials are kept.
    pub credentials: Credentials,
    /// Where repositories are.
    pub registries: RegistriesConf,
    /// Where requests go instead of straight to their host.
    pub proxies: Proxies,
    /// Directories like `/etc/docker/certs.d`, the first one that knows a host counts.
    pub certificate_directories: Vec<PathBuf>,
    /// Files with certificate authorities to be trusted beside the system's, in PEM form.
    pub extra_authorities: Vec<PathBuf>,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long nothing, or next to nothing, may happen on a connection. Transfers of blobs have no
    /// other limit.
    pub idle_timeout: Duration,
    /// How long a document may take: a manifest, a token, a list of tags, an image's config.
    pub document_timeout: Duration,
    /// When to try again.
    pub retry: RetryPolicy,
    /// Told what went wrong and was dealt with.
    pub notice: Arc<dyn Fn(Notice) + Send + Sync>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            credentials: Credentials::default(),
            registries: RegistriesConf::default(),
            proxies: Proxies::default(),
            certificate_directories: Vec::new(),
            extra_authorities: Vec::new(),
            connect_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
            // The largest manifest there is comes through in half of it at 250 kbit/s.
            document_timeout: Duration::from_secs(300),
            retry: RetryPolicy::default(),
            notice: Arc::new(|_| {}),
        }
    }
}

impl fmt::Debug for ClientOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientOptions")
            .field("registries", &self.registries)
            .field("proxies", &self.proxies)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}

/// Talks to registries and other HTTP servers.
///
/// Cheap to make and to clone: threads, certificates and connections come with the first request.
/// Every function blocks, and may be called from several threads at once.
#[derive(Clone, Debug)]
pub struct Client {
    session: Arc<RegistrySession>,
}

impl Client {
    /// Returns a client. Does nothing yet.
    #[must_use]
    pub fn new(options: ClientOptions) -> Self {
        let transport = HttpTransport::new(TransportOptions {
            proxies: options.proxies,
            certificate_directories: options.certificate_directories,
            extra_authorities: options.extra_authorities,
            connect_timeout: options.connect_timeout,
            idle_timeout: options.idle_timeout,
            document_timeout: options.document_timeout,
        });
        Self {
            session: Arc::new(RegistrySession::new(
                transport,
                options.credentials,
                options.registries,
                options.retry,
                options.notice,
            )),
        }
    }

    /// Ends every request in flight and refuses later ones, in all clones.
    pub fn cancel(&self) {
        self.session.transport.cancel();
    }

    /// Finds out what a name means now: HEAD, or GET where that is not enough.
    ///
    /// # Errors
    /// [`crate::ErrorClass::NotFound`] if there is no such manifest.
    pub fn resolve(&self, name: &TaggedRef) -> Result<Resolved, Error> {
        self.session.resolve(name)
    }

    /// Fetches the exact bytes of a manifest or index.
    ///
    /// # Errors
    /// [`crate::ErrorClass::Integrity`] if they are not what the descriptor says.
    pub fn fetch_manifest(
        &self,
        name: &ImageRef,
        descriptor: &Descriptor,
    ) -> Result<Vec<u8>, Error> {
        self.session.fetch_manifest(name, descriptor)
    }

    /// Resolves a name and stores index, manifest and config of the image for `platform`.
    ///
    /// # Errors
    /// [`crate::ErrorClass::NoPlatform`] if the index has none for it.
    pub fn pull(
        &self,
        name: &TaggedRef,
        platform: &Platform,
        blobs: &Blobs,
        observer: Observer<'_>,
    ) -> Result<PulledImage, Error> {
        self.session.pull(name, platform, blobs, observer)
    }

    /// As [`Client::pull`] for a descriptor that is known already. Asks the network only for what the
    /// store lacks.
    ///
    /// # Errors
    /// As [`Client::pull`].
    pub fn pull_resolved(
        &self,
        name: &ImageRef,
        top: &Descriptor,
        platform: &Platform,
        blobs: &Blobs,
        observer: Observer<'_>,
    ) -> Result<PulledImage, Error> {
        self.session
            .pull_resolved(name, top, platform, blobs, observer)
    }

    /// Stores a blob, unless the store has it.
    ///
    /// # Errors
    /// [`crate::ErrorClass::Integrity`] if the bytes are wrong; nothing is stored then.
    pub fn fetch_blob(
        &self,
        name: &ImageRef,
        descriptor: &Descriptor,
        blobs: &Blobs,
        observer: Observer<'_>,
    ) -> Result<(), Error> {
        self.session.fetch_blob(name, descriptor, blobs, observer)
    }

    /// Stores several blobs, a few at once.
    ///
    /// # Errors
    /// The first failure; the others are abandoned.
    pub fn fetch_blobs(
        &self,
        name: &ImageRef,
        descriptors: &[Descriptor],
        blobs: &Blobs,
        observer: Observer<'_>,
    ) -> Result<(), Error> {
        self.session
            .fetch_blobs(name, descriptors, blobs, observer, PARALLEL_BLOBS)
    }

    /// Starts to download a blob without storing it, so that it can be unpacked on the way.
    ///
    /// # Errors
    /// When no place has it; later trouble comes from the reader.
    pub fn open_blob(&self, name: &ImageRef, descriptor: &Descriptor) -> Result<BlobReader, Error> {
        self.session.open_blob(name, descriptor)
    }

    /// Pushes an image to `repository` (tag and digest of the name do not count) and returns what the
    /// tags now mean.
    ///
    /// # Errors
    /// [`crate::ErrorClass::Unauthorized`] if the user may not write there.
    pub fn push(
        &self,
        repository: &ImageRef,
        image: &PushImage,
        observer: Observer<'_>,
    ) -> Result<Descriptor, Error> {
        self.session
            .push(repository, image, observer, PARALLEL_BLOBS)
    }

    /// Lists the tags of a repository.
    ///
    /// # Errors
    /// [`crate::ErrorClass::NotFound`] if there is no such repository.
    pub fn list_tags(&self, repository: &ImageRef) -> Result<Vec<String>, Error> {
        self.session.list_tags(repository)
    }

    /// Downloads a URL.
    ///
    /// # Errors
    /// [`Error::Refused`], printed `invalid response status 404`, for a status that is no success.
    pub fn fetch(&self, url: &str, options: &FetchOptions) -> Result<Fetched, Error> {
        self.session.fetch(url, options)
    }

    /// Shows a user name and password to a registry and, if it accepts them, keeps them.
    ///
    /// # Errors
    /// [`crate::ErrorClass::Unauthorized`] if it does not; nothing is kept then.
    pub fn login(&self, server: &str, username: &str, password: &Secret) -> Result<Stored, Error> {
        self.session.login(server, username, password)
    }

    /// Asks a registry whether it accepts a credential, and keeps nothing.
    ///
    /// # Errors
    /// As [`Client::login`].
    pub fn verify(&self, server: &str, credential: &Credential) -> Result<(), Error> {
        self.session.verify(server, credential)
    }

    /// Returns where credentials are kept, for look-ups and for logging out.
    #[must_use]
    pub fn credentials(&self) -> &Credentials {
        &self.session.credentials
    }
}
