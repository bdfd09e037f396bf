//! The seam through which downloads and git repositories come into a build.
//!
//! Facts before bytes: what stands behind a URL or a reference is asked for before any key is made;
//! the files come only when a step must read them.

use std::fmt;

use kiln_oci::Timestamp;
use kiln_snapshotter::Layer;
use kiln_threads::Stop;
use kiln_tree::Blake3;

use crate::fault::Fault;
use crate::graph::Remote;
use crate::progress::Vertex;

/// Finds and fetches what is neither in the context nor in an image.
pub trait Remotes: fmt::Debug + Sync {
    /// Finds out what a source stands for now. Asks the server, unless the source itself names its
    /// content (a commit, a checksum).
    ///
    /// # Errors
    /// When the server cannot be reached or has no such thing.
    fn identify(
        &self,
        remote: &Remote,
        vertex: &Vertex<'_>,
        stop: &Stop,
    ) -> Result<RemoteIdentity, RemoteError>;

    /// Returns the layer of an identified source: the downloaded file, or the files of the
    /// repository, on an empty root.
    ///
    /// # Errors
    /// When it cannot be fetched, or is not what `identity` says.
    fn fetch(
        &self,
        remote: &Remote,
        identity: &RemoteIdentity,
        vertex: &Vertex<'_>,
        stop: &Stop,
    ) -> Result<Layer, RemoteError>;
}

/// What a remote source stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteIdentity {
    /// Differs whenever the layer would differ.
    pub digest: Blake3,
    /// When the content was made: a commit's time, `Last-Modified`.
    pub time: Option<Timestamp>,
    /// How the content is called: a commit, a digest. Lower-case hex.
    pub revision: String,
}

/// Why a remote source cannot be found or fetched.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct RemoteError {
    /// What went wrong with all its causes, on one line, without secrets.
    pub message: String,
    /// Whose fault it is.
    pub fault: Fault,
}
