//! Why a layer could not be made or read.

use std::io;
use std::path::{Path, PathBuf};

use kiln_cache::BlobError;
use kiln_files::GuestPath;
use kiln_oci::{DiffId, Sha256};
use kiln_tree::{InvalidTree, LayerId};

/// Why a layer could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// Its index is damaged.
    #[error("index of layer {id} is damaged")]
    Damaged {
        /// The layer.
        id: LayerId,
        /// What is wrong with it.
        source: InvalidTree,
    },
    /// Its files are asked for and not here.
    #[error("layer {0} is not unpacked")]
    NotUnpacked(LayerId),
    /// A root that holds a file would show another owner: there is no id for this one.
    #[error(
        "{path} belongs to {whose} {id}, but there are only the ids {ids} here; give your user more \
         of them in /etc/subuid and /etc/subgid (usermod --add-subuids and --add-subgids, and the \
         package uidmap)"
    )]
    Owner {
        /// The file.
        path: GuestPath,
        /// User or group.
        whose: &'static str,
        /// The one.
        id: u32,
        /// Those that there are.
        ids: String,
    },
    /// A file no longer is what the index says.
    #[error(
        "file {path} of layer {id} was changed in the store: `kiln cache verify` repairs or discards \
         the layer"
    )]
    Changed {
        /// The layer.
        id: LayerId,
        /// The file.
        path: GuestPath,
    },
    /// The tar stream has another digest than the image says.
    #[error("layer has diff id {actual} instead of {expected}")]
    WrongDiffId {
        /// The digest in the image's config.
        expected: DiffId,
        /// The digest of the bytes.
        actual: DiffId,
    },
    /// The tar stream has another length than when it was digested.
    #[error("the tar of the layer has {actual} bytes instead of {expected}")]
    WrongLength {
        /// Bytes then.
        expected: u64,
        /// Bytes now.
        actual: u64,
    },
    /// A blob that was described as one layer holds another.
    #[error("it holds layer {actual} instead of {expected}")]
    AnotherLayer {
        /// The layer that it was described as.
        expected: LayerId,
        /// The layer that it holds.
        actual: LayerId,
    },
    /// A blob cannot be decompressed.
    #[error("blob {digest} cannot be decompressed")]
    Stream {
        /// The blob.
        digest: Sha256,
        /// What is wrong with it.
        source: io::Error,
    },
    /// A blob could not be stored or read.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A file operation failed.
    #[error("layer store: {path}")]
    Io {
        /// The file concerned.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The receiver of a stream failed.
    #[error("cannot write the layer's stream")]
    Output(#[source] io::Error),
}

impl LayerError {
    /// Says whether the error is about this process and this moment and says nothing about the layer
    /// on disk.
    pub(crate) fn is_momentary(&self) -> bool {
        match self {
            Self::Io { source, .. }
            | Self::Stream { source, .. }
            | Self::Output(source)
            | Self::Blob(BlobError::Io { source, .. }) => !kiln_files::is_about_the_file(source),
            Self::Owner { .. } => true,
            _ => false,
        }
    }

    /// Returns a function that says which file an error of the operating system is about.
    pub(crate) fn at<E: Into<io::Error>>(path: impl AsRef<Path>) -> impl FnOnce(E) -> Self {
        move |source| Self::Io {
            path: path.as_ref().to_owned(),
            source: source.into(),
        }
    }
}
