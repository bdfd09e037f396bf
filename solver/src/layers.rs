//! The seam through which layers that are elsewhere come to the disk: those of base images, and
//! those that another machine made.

use std::fmt;

use kiln_oci::Sha256;
use kiln_snapshotter::Layer;
use kiln_tree::LayerId;

use crate::fault::Fault;

/// Fetches and unpacks layers when a step needs their files.
pub trait Layers: fmt::Debug + Sync {
    /// Returns the layers of the image with this manifest, lowest first, indexed and unpacked.
    /// What is here already costs a look-up.
    ///
    /// # Errors
    /// When a layer cannot be fetched or unpacked.
    fn layers(&self, manifest: Sha256) -> Result<Vec<Layer>, LayersError>;

    /// Says whether [`Layers::layers`] would find everything here.
    fn are_here(&self, manifest: Sha256) -> bool;

    /// Fetches and unpacks described layers, and returns them in the order asked for.
    ///
    /// # Errors
    /// When one of them cannot be fetched or unpacked.
    fn fetch_and_unpack(&self, layers: &[LayerId]) -> Result<Vec<Layer>, LayerFetchError>;
}

/// Why the layers of an image cannot be fetched or unpacked.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct LayersError {
    /// What went wrong with all its causes, on one line.
    pub message: String,
    /// Whose fault it is.
    pub fault: Fault,
}

/// Why a described layer cannot be fetched and unpacked.
#[derive(Debug)]
pub enum LayerFetchError {
    /// Its bytes are gone or are not what its digest says. The description was removed, so the next
    /// look-up of the step that made it finds nothing, and the step runs.
    Lost(LayerId),
    /// The same, and the description could not be removed.
    Failed(LayersError),
    /// The user asked to stop.
    Cancelled,
}
