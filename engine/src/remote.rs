//! Downloads and git repositories: what `ADD` and build contexts take from elsewhere.
//!
//! What was fetched stays in the state directory. A download is asked for again in every build, and
//! comes again only if the server says that it changed; of a repository only what is new comes. What
//! names its own content, by a checksum or a whole commit, is asked for once.

mod authorization; // who we are, from the build's secrets
mod checksum; // what a download must be
mod download; // files behind URLs
mod turn; // one kiln at a time

mod git; // repositories

use kiln_oci::Timestamp;
use kiln_parser::Address;
use kiln_runtime::SecretBytes;
use kiln_snapshotter::Layer;
use kiln_solver::{Agents, Fault, Identity, Remote, RemoteError, Remotes, Vertex};
use kiln_threads::Stop;
use kiln_tree::{Blake3, Encoder};

pub(crate) use git::Checkout;

use crate::Error;
use crate::error::chain;
use crate::outside::Outside;
use crate::stores::Stores;

/// Fetches what one build needs from elsewhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RemoteSources<'a> {
    pub(crate) stores: &'a Stores,
    pub(crate) outside: &'a Outside,
    /// May hold passwords for servers.
    pub(crate) secrets: &'a [(String, SecretBytes)],
    /// Who proves to ssh servers who we are.
    pub(crate) agents: &'a dyn Agents,
    /// What stands for the present in this build, if not the clock does.
    pub(crate) epoch: Option<Timestamp>,
}

impl Remotes for RemoteSources<'_> {
    fn identify(
        &self,
        remote: &Remote,
        vertex: &Vertex<'_>,
        stop: &Stop,
    ) -> Result<Identity, RemoteError> {
        match remote {
            Remote::Download(download) => self.identify_download(download, vertex, stop),
            Remote::Repository(repository) => self.identify_repository(repository, vertex, stop),
        }
    }

    fn fetch(
        &self,
        remote: &Remote,
        identity: &Identity,
        vertex: &Vertex<'_>,
        stop: &Stop,
    ) -> Result<Layer, RemoteError> {
        match remote {
            Remote::Download(download) => self.fetch_download(download, identity, vertex, stop),
            Remote::Repository(repository) => {
                self.fetch_repository(repository, identity, vertex, stop)
            }
        }
    }
}

/// Returns what of an address may be shown.
pub(crate) fn shown(url: &str) -> String {
    Address::of(url).shown()
}

/// Names an identity by its parts.
fn identity_digest(kind: &str, feed: impl FnOnce(&mut Encoder)) -> Blake3 {
    let mut encoder = Encoder::new("kiln.remote.1");
    encoder.text(kind);
    feed(&mut encoder);
    encoder.finish()
}

fn input(message: impl Into<String>) -> RemoteError {
    RemoteError {
        message: message.into(),
        fault: Fault::Input,
    }
}

/// Returns a closure for `map_err`: a failure of this machine, with what was being done.
fn local<E: std::error::Error + 'static>(doing: &str) -> impl FnOnce(E) -> RemoteError {
    move |error| RemoteError {
        message: format!("{doing}: {}", chain(&error)),
        fault: Fault::Environment,
    }
}

fn cancelled() -> RemoteError {
    RemoteError {
        message: "cancelled".to_owned(),
        fault: Fault::Environment,
    }
}

/// Makes a failure of a whole build of one of a source.
pub(crate) fn build_error(error: RemoteError, doing: &str, stop: &Stop) -> Error {
    if stop.is_asked() {
        return Error::Cancelled;
    }
    let message = format!("{doing}: {}", error.message);
    match error.fault {
        Fault::Input => Error::input(message),
        Fault::Environment => Error::Environment {
            message,
            hint: None,
        },
    }
}
