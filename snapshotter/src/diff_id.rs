//! The canonical tar of a layer, and the diff id that follows from it.

use std::io::{self, Write};

use kiln_oci::{DiffId, Sha256Writer};

use crate::error::LayerError;
use crate::facts::{TarFacts, TarOrigin};
use crate::layer::Layer;
use crate::tar::contents::Check;
use crate::tar::write::write_layer;

impl Layer {
    /// Returns the layer's diff id: the digest its image calls it by if it came from elsewhere,
    /// else that of the canonical tar, computed once and remembered.
    ///
    /// # Errors
    /// When the files cannot be read.
    pub fn diff_id(&self) -> Result<DiffId, LayerError> {
        if let Some(diff_id) = self.diff_id_cell().get() {
            return Ok(*diff_id);
        }
        if self.tree()?.is_empty() {
            return Ok(*self.diff_id_cell().get_or_init(|| DiffId::EMPTY));
        }
        let diff_id = match self.facts()?.diff_id() {
            Some(diff_id) => diff_id,
            None => {
                // One of several that want it computes it, be they threads or processes.
                let _lock = self.lock_work()?;
                match self.facts()?.diff_id() {
                    Some(diff_id) => diff_id,
                    None => {
                        let tar = self.write_tar(&mut io::sink())?;
                        self.remember_tar(tar)?;
                        tar.diff_id
                    }
                }
            }
        };
        Ok(*self.diff_id_cell().get_or_init(|| diff_id))
    }

    /// Writes the canonical tar of the layer and returns its digest and length.
    ///
    /// For a layer that came from elsewhere this is not the stream it came as.
    ///
    /// # Errors
    /// When the files cannot be read, or are not those of the index, or `output` fails.
    pub fn write_tar(&self, output: &mut dyn Write) -> Result<TarFacts, LayerError> {
        let mut hashing = Sha256Writer::new(output);
        write_layer(self, Check::Length, &mut hashing)?;
        let (_, digest, size_bytes) = hashing.finish();
        Ok(TarFacts {
            diff_id: DiffId(digest),
            size_bytes,
            origin: TarOrigin::Canonical,
        })
    }
}
