//! What happens along the way: progress of blobs, and things worth a warning.

use std::time::Duration;

use kiln_oci::Sha256;

/// Something that went otherwise than hoped and was dealt with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A request will be repeated after a pause.
    Retrying {
        /// The server; empty if the reason names it.
        host: String,
        /// Why.
        reason: String,
        /// How long from now.
        delay: Duration,
    },
    /// Credentials could not be read; the request goes on without.
    NoCredentials {
        /// The registry.
        domain: String,
        /// Why.
        reason: String,
    },
    /// A mirror did not serve a request; the next place is asked.
    MirrorFailed {
        /// The mirror's host and path.
        mirror: String,
        /// Why.
        reason: String,
    },
}

/// Progress of one blob or manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferEvent {
    /// What it is about.
    pub digest: Sha256,
    /// Its whole length in bytes.
    pub size_bytes: u64,
    /// What happened to it.
    pub step: TransferStep,
}

/// Stations of a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransferStep {
    /// Pull: it is in the store already.
    AlreadyHere,
    /// Pull: so many bytes have come.
    Downloading {
        /// Bytes so far.
        done_bytes: u64,
    },
    /// Pull: it is verified and stored.
    Downloaded,
    /// Push: nothing is known yet.
    Preparing,
    /// Push: the registry has it already.
    AlreadyThere,
    /// Push: the registry took it from this repository.
    Mounted {
        /// The repository's path.
        from: String,
    },
    /// Push: so many bytes have gone.
    Uploading {
        /// Bytes so far.
        done_bytes: u64,
    },
    /// Push: the registry has it now.
    Uploaded,
}

/// Who wants to know. Called from several threads at once.
pub type Observer<'a> = &'a (dyn Fn(TransferEvent) + Sync);
