//! Pushing an image: blobs first, then manifests, tags last.
//!
//! So nothing in the registry ever points at something that is not there. A blob is asked for, then
//! mounted from a repository of the same registry if one is known to have it, and uploaded only if
//! both fail.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

use kiln_oci::{Descriptor, ImageRef, MediaKind, Sha256};
use kiln_threads::Stop;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Method, Url};

use crate::answer::HttpAnswer;
use crate::auth::scope::Scopes;
use crate::call::{CallTarget, Payload, RegistryCall, Repeat};
use crate::endpoint::{Endpoint, HostSecurity};
use crate::error::{Error, go_on};
use crate::notice::{Notice, Observer, TransferEvent, TransferStep};
use crate::origin::leaves_tls;
use crate::parallel::for_each;
use crate::redirect::location_of;
use crate::refusal::Action;
use crate::session::RegistrySession;
use crate::url_text::authority;

/// What is pushed to one repository.
#[derive(Clone, Debug)]
pub struct PushImage {
    /// Configs and layers of all manifests.
    pub blobs: Vec<PushBlob>,
    /// The manifests that `manifest` lists, if it is an index.
    pub children: Vec<PushManifest>,
    /// The manifest or index that the tags will mean.
    pub manifest: PushManifest,
    /// The tags; with none, the manifest can be had by digest only.
    pub tags: Vec<String>,
}

/// A manifest, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushManifest {
    /// Its media type.
    pub media_type: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl PushManifest {
    /// Returns the descriptor.
    #[must_use]
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::of(&self.media_type, &self.bytes)
    }
}

/// A config or layer.
#[derive(Clone, Debug)]
pub struct PushBlob {
    /// Digest and length.
    pub descriptor: Descriptor,
    /// Where its bytes are.
    pub source: BlobSource,
    /// A repository that had it, to be mounted from if it is in the same registry.
    pub mount_from: Option<ImageRef>,
}

/// Opens a blob for reading, as often as a connection breaks.
pub type OpenBlob = Arc<dyn Fn() -> io::Result<Box<dyn Read + Send>> + Send + Sync>;

/// Where the bytes of a blob are.
#[derive(Clone)]
pub enum BlobSource {
    /// In a file.
    File(PathBuf),
    /// Wherever the function gets them.
    Open(OpenBlob),
}

impl BlobSource {
    fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        match self {
            Self::File(path) => Ok(Box::new(File::open(path)?)),
            Self::Open(open) => open(),
        }
    }
}

impl fmt::Debug for BlobSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Open(_) => f.debug_tuple("Open").finish_non_exhaustive(),
        }
    }
}

impl RegistrySession {
    pub(crate) fn push(
        &self,
        repository: &ImageRef,
        image: &PushImage,
        observer: Observer<'_>,
        workers: usize,
    ) -> Result<Descriptor, Error> {
        let top = image.manifest.descriptor();
        let blobs = wanted_blobs(&image.blobs);
        let endpoint = self.upstream(repository)?;
        let mounts = self.mounts(&endpoint, &blobs)?;
        let mut scopes = Scopes::push(&endpoint.repository);
        for from in mounts.iter().flatten() {
            scopes = scopes.with(from, &["pull"]);
        }
        let push = Push {
            session: self,
            endpoint: &endpoint,
            scopes: &scopes,
            observer,
        };
        for blob in &blobs {
            push.tell(&blob.descriptor, TransferStep::Preparing);
        }
        // A registry that has the manifest has what it names.
        let digest = top.digest.to_string();
        let known = self.head_manifest(&endpoint, &digest, &scopes)?;
        if known.is_some_and(|known| known.digest == top.digest) {
            for blob in &blobs {
                push.tell(&blob.descriptor, TransferStep::AlreadyThere);
            }
        } else {
            let items: Vec<(&PushBlob, Option<&str>)> = blobs
                .iter()
                .copied()
                .zip(mounts.iter().map(Option::as_deref))
                .collect();
            for_each(&items, workers, |&(blob, mount), stop| {
                push.blob(blob, mount, stop)
            })?;
            for child in &image.children {
                let digest = child.descriptor().digest.to_string();
                push.manifest(child, &digest)?;
            }
            if image.tags.is_empty() {
                push.manifest(&image.manifest, &digest)?;
            }
        }
        for tag in &image.tags {
            let current = self.head_manifest(&endpoint, tag, &scopes)?;
            if current.is_none_or(|current| current.digest != top.digest) {
                push.manifest(&image.manifest, tag)?;
            }
        }
        Ok(top)
    }

    /// Returns for each blob the path of the repository that it may be mounted from.
    fn mounts(
        &self,
        endpoint: &Endpoint,
        blobs: &[&PushBlob],
    ) -> Result<Vec<Option<String>>, Error> {
        let mount = |blob: &&PushBlob| {
            let Some(from) = &blob.mount_from else {
                return Ok(None);
            };
            let from = match self.upstream(from) {
                Err(Error::Blocked(_)) => return Ok(None),
                other => other?,
            };
            let elsewhere = from.host == endpoint.host && from.repository != endpoint.repository;
            Ok(elsewhere.then_some(from.repository))
        };
        blobs.iter().map(mount).collect()
    }
}

/// Each blob once, without those that registries do not hold.
fn wanted_blobs(blobs: &[PushBlob]) -> Vec<&PushBlob> {
    let mut wanted: Vec<&PushBlob> = Vec::new();
    for blob in blobs {
        let foreign = matches!(
            MediaKind::of(&blob.descriptor.media_type),
            MediaKind::ForeignLayer(_)
        );
        let seen = wanted
            .iter()
            .any(|other| other.descriptor.digest == blob.descriptor.digest);
        if !foreign && !seen {
            wanted.push(blob);
        }
    }
    wanted
}

/// One push in progress.
struct Push<'a> {
    session: &'a RegistrySession,
    endpoint: &'a Endpoint,
    scopes: &'a Scopes,
    observer: Observer<'a>,
}

impl Push<'_> {
    fn tell(&self, descriptor: &Descriptor, step: TransferStep) {
        (self.observer)(TransferEvent {
            digest: descriptor.digest,
            size_bytes: descriptor.size_bytes,
            step,
        });
    }

    fn refused(&self, answer: HttpAnswer) -> Error {
        answer
            .into_refusal(Action::Push(self.endpoint.familiar()))
            .into()
    }

    fn call(&self, method: Method, path: String) -> RegistryCall<'_> {
        RegistryCall::new(self.endpoint, method, path, self.scopes)
    }

    /// Sees to it that the registry has a blob.
    fn blob(&self, blob: &PushBlob, mount: Option<&str>, stop: &Stop) -> Result<(), Error> {
        let descriptor = &blob.descriptor;
        let repository = &self.endpoint.repository;
        let path = format!("/v2/{repository}/blobs/{}", descriptor.digest);
        let head = self.session.call(&self.call(Method::HEAD, path))?;
        if head.status.is_success() {
            self.tell(descriptor, TransferStep::AlreadyThere);
            return Ok(());
        }
        // Whatever else HEAD said, the upload will say it too, and with words.
        let mut delays = self.session.retry.delays.iter();
        loop {
            go_on(stop)?;
            let session = match self.start(descriptor.digest, mount)? {
                Started::Mounted { from } => {
                    self.tell(descriptor, TransferStep::Mounted { from });
                    return Ok(());
                }
                Started::Session(session) => session,
            };
            let error = match self.upload(blob, session, stop) {
                Ok(()) => {
                    self.tell(descriptor, TransferStep::Uploaded);
                    return Ok(());
                }
                Err(error) if may_start_over(&error) => error,
                Err(error) => return Err(error),
            };
            // What was sent is lost with its session, so an upload starts over.
            let Some(&delay) = delays.next() else {
                return Err(error);
            };
            (self.session.notice)(Notice::Retrying {
                host: String::new(),
                reason: error.to_string(),
                delay,
            });
            self.session.transport.sleep(delay)?;
        }
    }

    /// Mounts a blob or opens an upload session.
    fn start(&self, digest: Sha256, mount: Option<&str>) -> Result<Started, Error> {
        let path = format!("/v2/{}/blobs/uploads/", self.endpoint.repository);
        if let Some(from) = mount {
            let mut query = Url::parse("query:").expect("a scheme alone is a URL");
            query
                .query_pairs_mut()
                .append_pair("mount", &digest.to_string())
                .append_pair("from", from);
            let path = format!("{path}?{}", query.query().unwrap_or(""));
            let answer = self.session.call(&self.call(Method::POST, path))?;
            match answer.status.as_u16() {
                201 => {
                    return Ok(Started::Mounted {
                        from: from.to_owned(),
                    });
                }
                202 => return self.session(&answer),
                // The user may not be allowed to read the source and yet to upload.
                _ => {}
            }
        }
        let answer = self.session.call(&self.call(Method::POST, path))?;
        match answer.status.as_u16() {
            202 => self.session(&answer),
            _ => Err(self.refused(answer)),
        }
    }

    /// Returns where the registry wants an upload to go.
    fn session(&self, answer: &HttpAnswer) -> Result<Started, Error> {
        let failed = |problem| Error::Protocol {
            host: authority(&answer.url),
            problem,
        };
        let location = answer
            .header(LOCATION)
            .ok_or_else(|| failed("started an upload without saying where"))?;
        let location = location_of(&answer.url, location)?;
        // Usually a registry behind a proxy that does not know how it is spoken to.
        if leaves_tls(&answer.url, &location) && self.endpoint.security != HostSecurity::Insecure {
            return Err(failed("wants an upload over plain HTTP"));
        }
        Ok(Started::Session(location))
    }

    /// Sends a blob in one request.
    fn upload(&self, blob: &PushBlob, mut session: Url, stop: &Stop) -> Result<(), Error> {
        let descriptor = &blob.descriptor;
        // Whatever the location's query says is the registry's own affair and stays.
        session
            .query_pairs_mut()
            .append_pair("digest", &descriptor.digest.to_string());
        let mut headers = HeaderMap::new();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        );
        let open = || blob.source.open();
        let sent = |done_bytes| self.tell(descriptor, TransferStep::Uploading { done_bytes });
        go_on(stop)?;
        let answer = self.session.call(&RegistryCall {
            target: CallTarget::Url(session),
            headers,
            payload: Payload::Stream {
                size_bytes: descriptor.size_bytes,
                open: &open,
                sent: &sent,
            },
            repeat: Repeat::No,
            ..self.call(Method::PUT, String::new())
        })?;
        if answer.status.is_success() {
            Ok(())
        } else {
            Err(self.refused(answer))
        }
    }

    /// Writes a manifest under a digest or tag.
    fn manifest(&self, manifest: &PushManifest, reference: &str) -> Result<(), Error> {
        let path = format!("/v2/{}/manifests/{reference}", self.endpoint.repository);
        let mut headers = HeaderMap::new();
        let content_type =
            HeaderValue::from_str(&manifest.media_type).map_err(|_| Error::Protocol {
                host: self.endpoint.host.clone(),
                problem: "cannot be told a media type that does not fit into a header",
            })?;
        headers.insert(CONTENT_TYPE, content_type);
        let answer = self.session.call(&RegistryCall {
            headers,
            payload: Payload::Bytes(&manifest.bytes),
            ..self.call(Method::PUT, path)
        })?;
        if !answer.status.is_success() {
            return Err(self.refused(answer));
        }
        let stored = answer
            .header("docker-content-digest")
            .and_then(|text| text.parse::<Sha256>().ok());
        match stored {
            Some(stored) if stored != Sha256::of(&manifest.bytes) => Err(Error::Protocol {
                host: authority(&answer.url),
                problem: "stored another manifest than it was given",
            }),
            _ => Ok(()),
        }
    }
}

enum Started {
    Mounted { from: String },
    Session(Url),
}

/// Says whether a new session may succeed where this one failed.
fn may_start_over(error: &Error) -> bool {
    match error {
        Error::Refused(refusal) => {
            matches!(
                refusal.status,
                404 | 408 | 416 | 429 | 500 | 502 | 503 | 504
            )
        }
        error => error.is_transient(),
    }
}
