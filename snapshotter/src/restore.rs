//! Layers that lost their files, or their names, and get them again.

use kiln_cache::Blobs;

use crate::build_error::BuildError;
use crate::error::LayerError;
use crate::layer::{Layer, LayerStore};
use crate::layer_files::LayerFiles;
use crate::unpack::UnpackError;

impl LayerStore {
    /// Returns where a layer's files are, making them again from a known blob if they are gone.
    ///
    /// # Errors
    /// [`LayerError::NotUnpacked`] if no blob of it is in `blobs`; when one cannot be unpacked.
    pub fn materialise(&self, layer: &Layer, blobs: &Blobs) -> Result<LayerFiles, UnpackError> {
        if let Some(files) = layer.files() {
            return Ok(files);
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
            .find(|blob| blobs.has(&blob.descriptor))
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

    /// Makes sure that a layer is found by the digests of its tar streams. If what is known of them
    /// is damaged, that of its own tar is found out anew.
    ///
    /// # Errors
    /// When that cannot be read or written.
    pub fn name_again(&self, layer: &Layer) -> Result<(), LayerError> {
        if layer.stored_facts()?.is_none() {
            let path = layer.path("facts");
            std::fs::remove_file(&path).map_err(LayerError::at(&path))?;
            layer.canonical_tar()?;
        }
        for tar in layer.facts()?.tars {
            layer.find_by(tar.diff_id)?;
        }
        Ok(())
    }

    /// Makes the files of `layer` from its index and the contents that `source` has of them.
    fn rebuild(&self, layer: &Layer, source: &Layer) -> Result<(), BuildError> {
        let files = source.unpacked()?;
        let builder = self.builder()?;
        for entry in layer.tree()?.iter() {
            let path = entry.guest_path();
            builder.add_entry(&path, &entry, || files.open_file(&path))?;
        }
        if builder.finish()? == *layer {
            Ok(())
        } else {
            Err(LayerError::NotUnpacked(layer.id()).into())
        }
    }
}
