//! Layers whose files were deleted, unpacked again.

use std::path::PathBuf;

use kiln_cache::{Blobs, GuestPath};

use crate::build_error::BuildError;
use crate::error::LayerError;
use crate::layer::{Layer, LayerStore};
use crate::unpack::UnpackError;

impl LayerStore {
    /// Returns the directory with a layer's files, making it again from a known blob if it is gone.
    ///
    /// # Errors
    /// [`LayerError::NotUnpacked`] if no blob of it is in `blobs`; when one cannot be unpacked.
    pub fn materialise(&self, layer: &Layer, blobs: &Blobs) -> Result<PathBuf, UnpackError> {
        if let Some(directory) = layer.directory() {
            return Ok(directory);
        }
        if layer.tree().map_err(BuildError::from)?.is_empty() {
            let builder = self.builder().map_err(BuildError::from)?;
            builder.finish()?;
            return Ok(layer.unpacked().map_err(BuildError::from)?);
        }
        let facts = layer.facts().map_err(BuildError::from)?;
        let source = facts
            .blobs
            .iter()
            .find(|blob| blobs.contains(blob.descriptor.digest))
            .ok_or_else(|| BuildError::from(LayerError::NotUnpacked(layer.id())))?;
        let blob = blobs
            .open(source.descriptor.digest)
            .map_err(|error| BuildError::from(LayerError::from(error)))?;
        let unpacked = self.apply(blob, Some(source.compression), source.diff_id)?;
        if unpacked != *layer {
            // An index from before times were whole seconds differs from its tar in them.
            self.rebuild(layer, &unpacked)?;
        }
        Ok(layer.unpacked().map_err(BuildError::from)?)
    }

    /// Makes the files of `layer` from its index and the contents that `source` has of them.
    fn rebuild(&self, layer: &Layer, source: &Layer) -> Result<(), BuildError> {
        let root = source.unpacked()?;
        let builder = self.builder()?;
        for entry in layer.tree()?.iter() {
            let path = entry.guest_path();
            let place = |path: &GuestPath| root.join(path.as_relative());
            builder.add_entry(&path, &entry, || Ok(place(&path)))?;
        }
        match builder.finish()? == *layer {
            true => Ok(()),
            false => Err(LayerError::NotUnpacked(layer.id()).into()),
        }
    }
}
