//! The only HTTP client: OCI distribution in both directions, resumable; plain fetches for ADD.
//!
//! Functions block; the one thread that does asynchronous work is hidden in here. Nothing reads the
//! environment: where configuration, credentials and proxies are is said in [`ClientOptions`]. This
//! crate knows nothing about Dockerfiles, layers' contents or mounts.

mod client; // the face
mod error; // what can go wrong
mod error_class; // what a caller can do about it
mod failure; // how a connection fails
mod notice; // what happens along the way

mod fetch; // plain downloads
mod login; // showing credentials before keeping them
mod pull; // name -> manifest, config, list of layers
mod push; // blobs, manifests, tags
mod resolve; // name -> digest -> manifest bytes
mod tags; // lists of tags

mod blob; // fetching blobs
mod manifest; // why a manifest cannot be used
mod parallel; // several transfers at once

mod auth_file; // config.json and auth.json
mod credential; // what proves who the user is
mod credentials; // finding and keeping it
mod helper; // programs that keep passwords
mod registries_conf; // where repositories really are
mod registry_key; // names under which credentials are kept
mod secret; // text that must not be seen

mod auth; // meeting what servers want to see
mod call; // requests, and what they carry
mod challenge; // what servers want to see
mod endpoint; // hosts, schemes, ways to talk to them
mod exchange; // one question and everything until its answer
mod origin; // what may be sent where
mod proof; // what was shown to a host
mod redirect; // where answers send a request
mod refusal; // why a server says no
mod resume; // going on where a connection broke
mod retry; // patience
mod route; // mirrors before the registry itself
mod scope; // what tokens are good for
mod session; // what was learned about each host
mod token; // tokens from token servers

mod answer; // answers and their bodies between the threads
mod look_up; // the addresses behind names
mod proxy; // whom to reach by a detour
mod transport; // the one asynchronous place
mod transport_options; // how connections are made
mod trust; // certificates
mod upload; // bodies of requests between the threads
mod url_text; // what of a URL may be shown

pub use blob::BlobReader;
pub use client::{Client, ClientOptions};
pub use credential::{Credential, CredentialError, HelperError, Stored};
pub use credentials::Credentials;
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
pub use registry_key::registry_domain;
pub use resolve::Resolved;
pub use retry::RetryPolicy;
pub use secret::Secret;
