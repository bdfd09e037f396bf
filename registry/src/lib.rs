//! The only HTTP client: images to and from registries (OCI distribution), and plain downloads for
//! ADD. Downloads go on where a connection broke; uploads start over.
//!
//! Functions block; the one thread that does asynchronous work is hidden in here. Nothing reads the
//! environment: where configuration, credentials and proxies are is said in [`ClientOptions`]. This
//! crate knows nothing about Dockerfiles, layers' contents or mounts.

mod client; // the value that callers hold: options, connections, tokens
mod error; // what can go wrong
mod error_class; // what a caller can do about it
mod failure; // how a connection fails
mod notice; // events of a transfer

mod fetch; // plain downloads
mod login; // trying credentials before they are kept
mod pull; // name -> manifest, config, list of layers
mod push; // blobs, manifests, tags
mod resolve; // name -> digest -> manifest bytes
mod tags; // lists of tags

mod blob; // fetching blobs
mod download_resumption; // ranges, and how often a download may break
mod manifest; // why a manifest cannot be used
mod parallel; // several transfers at once

mod credentials; // where the user's credentials are found and kept
mod registries_conf; // registries.conf: which mirrors a repository has, registries without TLS
mod secret; // text that must not be shown

mod auth; // a 401 answered by Basic or by a token
mod call; // a request to a registry as a value
mod endpoint; // hosts, schemes, certificates
mod exchange; // one request, its redirects followed and its 401 answered
mod origin; // which headers may be sent to which host
mod redirect; // where answers send a request
mod refusal; // the errors that registries answer with
mod retry; // requests that failed for the moment, repeated
mod retry_policy; // how often, and after which pauses
mod route; // mirrors in turn, then the registry itself
mod session; // what was learned about each host

mod answer; // answers and their bodies, from the network thread to the caller's
mod look_up; // the addresses behind names
mod proxy; // proxies, and hosts reached without
mod request_body; // bodies of requests, from the caller's thread to the network thread
mod transport; // the network thread, the one asynchronous place
mod transport_options; // timeouts, proxies and certificates of connections
mod trust; // certificates
mod url_text; // URLs as they may be shown

pub use blob::BlobReader;
pub use client::{Client, ClientOptions};
pub use credentials::Credentials;
pub use credentials::registry_key::registry_domain;
pub use credentials::value::{Credential, CredentialError, HelperError, Stored};
pub use error::Error;
pub use error_class::ErrorClass;
pub use failure::{TransportError, TransportKind};
pub use fetch::{DownloadReader, FetchOptions, Fetched};
pub use manifest::ManifestError;
pub use notice::{Notice, Observer, TransferEvent, TransferStep};
pub use proxy::Proxies;
pub use pull::PulledImage;
pub use push::{BlobSource, OpenBlob, PushBlob, PushImage, PushManifest};
pub use refusal::{Action, RegistryRefusal};
pub use registries_conf::{RegistriesConf, RegistriesConfError};
pub use resolve::Resolved;
pub use retry_policy::RetryPolicy;
pub use secret::Secret;
