//! The seam through which layers that are elsewhere come to the disk: those of base images, and
//! those that another machine made.

use std::fmt;

use kiln_oci::Sha256;
use kiln_snapshotter::Layer;
use kiln_tree::LayerId;

use crate::fault::Fault;

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

    /// Returns layers that are described only, in the order asked for, unpacked.
    ///
    /// # Errors
    /// When one of them is not to be had.
    fn fetch_and_unpack(&self, layers: &[LayerId]) -> Result<Vec<Layer>, LayerFetchError>;
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

/// Why a layer that is described only is not to be had.
#[derive(Debug)]
pub enum LayerFetchError {
    /// Its bytes are gone or are not what they should be. It is not described any more: whoever
    /// looks for it finds that it has to be made.
    Lost(LayerId),
    /// Not even that could be written down.
    Failed(LayersError),
    /// The person asked to stop.
    Cancelled,
}
