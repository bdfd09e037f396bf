//! What can be wrong with a layer.

use kiln_files::GuestPath;
use kiln_oci::DiffId;

use crate::error::LayerError;

/// A damage of a layer.
#[derive(Debug, thiserror::Error)]
pub enum LayerDamage {
    /// Its index is missing, cannot be read, or is that of another layer.
    #[error("its index is damaged")]
    Index,
    /// A file is missing.
    #[error("{0} is missing")]
    Missing(GuestPath),
    /// There is a file that the index does not know.
    #[error("{0} does not belong to it")]
    Foreign(GuestPath),
    /// A file is not what the index says.
    #[error("{path}: {what} changed")]
    Changed {
        /// The file.
        path: GuestPath,
        /// Which of its sides.
        what: &'static str,
    },
    /// Its tar stream is not the one that images know it by.
    #[error("its diff id is {actual} instead of {expected}")]
    DiffId {
        /// The digest that images have.
        expected: DiffId,
        /// The digest that it has.
        actual: DiffId,
    },
    /// Its files are gone altogether.
    #[error("its files are gone")]
    NoFiles,
    /// What is known of its tar streams and blobs cannot be read.
    #[error("what is known of its tar is damaged")]
    Facts,
    /// It is not found by the digest of one of its tar streams.
    #[error("it is not found by its diff id {0}")]
    Name(DiffId),
    /// It cannot be read.
    #[error("it cannot be read")]
    Unreadable(#[source] LayerError),
}

/// Whether this process can make what overlayfs takes for a deleted file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whiteouts {
    /// It can, so they are there.
    Stored,
    /// It cannot: layers are copied, and only their indexes know what was deleted.
    IndexOnly,
}

impl LayerDamage {
    /// Says whether the layer is damaged, and not only for the moment not to be read.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        !matches!(self, Self::Unreadable(error) if error.is_momentary())
    }
}
