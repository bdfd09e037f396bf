//! Which files of a directory belong to a context, and why one cannot be scanned.

use std::io;
use std::path::{Path, PathBuf};

/// Decides which files of a directory belong to the context.
pub trait Filter: Sync {
    /// The state that the decision about a directory hands down to its entries.
    type State: Send + Sync;

    /// Returns the state at the root.
    fn root(&self) -> Self::State;

    /// Decides about `path`, a clean path relative to the root, in a directory with `state`.
    fn child(&self, state: &Self::State, path: &[u8], is_directory: bool) -> Visit<Self::State>;

    /// Says whose the files are.
    fn owners(&self) -> Owners {
        Owners::Root
    }
}

/// Whose the files of a context are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owners {
    /// Root's: who owns a checkout says nothing about the image.
    Root,
    /// Those that the disk says: the context was an archive that names them.
    Kept,
}

/// The decision about a file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit<S> {
    /// It belongs to the context; a directory is entered.
    Take(S),
    /// It is excluded, but something below may be included again: enter the directory, and take it
    /// if something in it is taken.
    Enter(S),
    /// It and everything below is excluded.
    Skip,
}

/// Takes everything.
#[derive(Clone, Copy, Debug)]
pub struct Everything;

impl Filter for Everything {
    type State = ();

    fn root(&self) {}

    fn child(&self, (): &(), _: &[u8], _: bool) -> Visit<()> {
        Visit::Take(())
    }
}

/// Why a context cannot be scanned.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}")]
pub struct ScanError {
    /// The file or directory on the host.
    pub path: PathBuf,
    /// What went wrong.
    pub source: io::Error,
}

pub(super) fn host_path(root: &Path, path: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    root.join(std::ffi::OsStr::from_bytes(path))
}
