//! The seam through which the layers of base images come to the disk.

use std::fmt;

use kiln_cache::Sha256;
use kiln_snapshotter::Layer;

use crate::plan::Fault;

/// Brings layers of images to the disk when a step needs their files.
pub trait Layers: fmt::Debug + Sync {
    /// Returns the layers of the image with this manifest, lowest first, indexed and unpacked.
    /// What is here already costs a look-up.
    ///
    /// # Errors
    /// When a layer cannot be fetched or unpacked.
    fn layers(&self, manifest: Sha256) -> Result<Vec<Layer>, LayersError>;

    /// Says whether [`Layers::layers`] would find everything here.
    fn are_here(&self, manifest: Sha256) -> bool;
}

/// Why the layers of an image are not to be had.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct LayersError {
    /// The whole story, on one line.
    pub message: String,
    /// Whose fault it is.
    pub fault: Fault,
}
