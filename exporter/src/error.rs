//! Why an image could not be written.

use std::io;
use std::path::{Path, PathBuf};

use kiln_files::GuestPath;
use kiln_oci::{Platform, Sha256};
use kiln_snapshotter::LayerError;

/// Why an image could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Only a registry has it.
    #[error("layer {0} is not here")]
    Absent(Sha256),
    /// A blob of the store is not what its name says.
    #[error("blob {expected} is damaged: its digest is {actual}")]
    Damaged {
        /// Its name.
        expected: Sha256,
        /// What it holds.
        actual: Sha256,
    },
    /// A docker archive holds one platform.
    #[error("docker exporter does not currently support exporting manifest lists")]
    ManifestList,
    /// Two platforms have a file of the same path and no directories of their own.
    #[error(
        "cannot overwrite {} from {first} with {second} when split option is disabled",
        .path.as_relative().display()
    )]
    Overwrite {
        /// The file.
        path: GuestPath,
        /// The platform that has it.
        first: Platform,
        /// The platform that has another one.
        second: Platform,
    },
    /// The directory holds files that kiln may not replace.
    #[error("{path} is not an OCI layout: its index.json cannot be read")]
    NotALayout {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A directory of a layout is a link.
    #[error(
        "{0} is a link, and in a layout kiln follows none, lest it change files of somebody else; \
         remove it, or name the directory that it leads to"
    )]
    Link(PathBuf),
    /// A file of a layer has not the length that its index says.
    #[error("file {0} was changed in the store: `kiln cache verify` repairs or discards its layer")]
    Changed(GuestPath),
    /// A layer cannot be read.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// The receiver failed.
    #[error("cannot write the image")]
    Output(#[source] io::Error),
    /// A file operation failed.
    #[error("{path}")]
    Io {
        /// The file concerned.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}

impl ExportError {
    /// Returns a function that says which file an error of the operating system is about.
    pub(crate) fn at<E: Into<io::Error>>(path: impl AsRef<Path>) -> impl FnOnce(E) -> Self {
        move |source| Self::Io {
            path: path.as_ref().to_owned(),
            source: source.into(),
        }
    }
}
