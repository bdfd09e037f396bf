//! Why a file could not be added to a layer.

use std::io;

use kiln_files::GuestPath;

use crate::error::LayerError;

/// Why a file could not be added to a layer.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The containing directory was not added before.
    #[error("{0} is added before its directory")]
    NoParent(GuestPath),
    /// The containing directory is something else in this layer.
    #[error("{0} cannot be added: its parent is not a directory")]
    ParentNotDirectory(GuestPath),
    /// A hard link to something that is not in the layer.
    #[error("hard link {path} points to {target}, which is not in the layer")]
    DanglingHardLink {
        /// The link.
        path: GuestPath,
        /// Where it points.
        target: GuestPath,
    },
    /// A device that overlayfs takes for a mark of its own.
    #[error("{0} is a character device 0:0, which hides a file instead of being one; leave it out")]
    Whiteout(GuestPath),
    /// There are more files, or with longer names, than an index holds.
    #[error("too many files for one layer")]
    TooManyFiles,
    /// The file to be copied cannot be read.
    #[error("cannot read the content of {path}")]
    Content {
        /// Where it was to go.
        path: GuestPath,
        /// What went wrong.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write {path} into a layer")]
    Write {
        /// Where it was to go.
        path: GuestPath,
        /// What went wrong.
        source: io::Error,
    },
    /// The layer as a whole cannot be made.
    #[error(transparent)]
    Layer(#[from] LayerError),
}

/// Returns a function that says which file could not be written.
pub(crate) fn writing<E: Into<io::Error>>(path: &GuestPath) -> impl FnOnce(E) -> BuildError {
    let path = path.clone();
    move |error| BuildError::Write {
        path,
        source: error.into(),
    }
}

/// Returns a function that says whose content could not be read.
pub(crate) fn reading<E: Into<io::Error>>(path: &GuestPath) -> impl FnOnce(E) -> BuildError {
    let path = path.clone();
    move |error| BuildError::Content {
        path,
        source: error.into(),
    }
}
