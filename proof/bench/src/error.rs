use std::io;
use std::path::{Path, PathBuf};

use kiln_testbed::Skip;

/// Why nothing, or nothing more, can be measured.
///
/// A builder that fails is not among these: it gets a line in the report.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file of ours cannot be read or written.
    #[error("cannot use {}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    /// The machine lacks something.
    #[error("{0}")]
    Lacking(String),
    /// A program that prepares the ground did not do so.
    #[error("{doing}: {said}")]
    Preparation { doing: String, said: String },
}

impl Error {
    /// Returns a function that adds a path to an input or output error.
    pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        |source| Self::File {
            path: path.to_owned(),
            source,
        }
    }
}

impl From<Skip> for Error {
    fn from(skip: Skip) -> Self {
        Self::Lacking(skip.to_string())
    }
}
