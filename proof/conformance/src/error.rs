use std::io;
use std::path::{Path, PathBuf};

use kiln_testbed::Skip;

/// Why cases could not be tried.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// A case is not as testdata/conformance/README.md says.
    #[error("{}: {reason}", path.display())]
    Case {
        /// The file of the case.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// A builder failed at something that is not a matter of the case.
    #[error("{what}:\n{output}")]
    Builder {
        /// What it should have done.
        what: String,
        /// What it said.
        output: String,
    },

    /// The machine lacks something.
    #[error("{0}")]
    Lacking(Skip),
}

impl Error {
    /// Returns a function that adds a path to an error of the system.
    pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }
}

impl From<Skip> for Error {
    fn from(skip: Skip) -> Self {
        Self::Lacking(skip)
    }
}
