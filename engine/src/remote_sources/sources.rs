//! What one build needs to fetch from elsewhere, and the words for what fails.

use kiln_oci::Timestamp;
use kiln_parser::Address;
use kiln_runtime::SecretBytes;
use kiln_solver::{Agents, Fault, RemoteError};
use kiln_threads::Stop;
use kiln_tree::{Blake3, Encoder};

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
    /// What proves to ssh servers who the user is.
    pub(crate) agents: &'a dyn Agents,
    /// What stands for the present in this build, if not the clock does.
    pub(crate) epoch: Option<Timestamp>,
}

/// Returns what of an address may be shown.
pub(crate) fn shown(url: &str) -> String {
    Address::of(url).shown()
}

/// Names an identity by its parts.
pub(crate) fn identity_digest(kind: &str, feed: impl FnOnce(&mut Encoder)) -> Blake3 {
    let mut encoder = Encoder::new("kiln.remote.1");
    encoder.text(kind);
    feed(&mut encoder);
    encoder.finish()
}

pub(crate) fn input(message: impl Into<String>) -> RemoteError {
    RemoteError {
        message: message.into(),
        fault: Fault::Input,
    }
}

/// Returns a closure for `map_err`: a failure of this machine, with what was being done.
pub(crate) fn local<E: std::error::Error + 'static>(doing: &str) -> impl FnOnce(E) -> RemoteError {
    move |error| RemoteError {
        message: format!("{doing}: {}", chain(&error)),
        fault: Fault::Environment,
    }
}

pub(crate) fn cancelled() -> RemoteError {
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
    match error.fault {
        Fault::Input => Error::input_while(doing, error),
        Fault::Environment => Error::environment(doing, error),
    }
}
