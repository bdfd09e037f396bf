//! Layers removed from the store.

use std::fs;
use std::path::PathBuf;

use kiln_cache::Trash;
use kiln_files::unless_gone;
use kiln_tree::LayerId;

use crate::error::LayerError;
use crate::layer::{Layer, LayerStore};
use crate::place::diff_path;

impl LayerStore {
    /// Returns where everything about a layer is kept, or would be.
    #[must_use]
    pub fn place(&self, id: LayerId) -> PathBuf {
        Layer::new(self.store(), id).place().to_owned()
    }

    /// Takes a layer out of the store: first the names that lead to it, then itself. The caller
    /// has exclusive use of the state directory and knows that no record, image or container needs
    /// it.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn discard(&self, id: LayerId, trash: &Trash) -> Result<(), LayerError> {
        for tar in self.known_facts(id).tars {
            let name = diff_path(self.store(), tar.diff_id);
            let is_own = fs::read_to_string(&name).is_ok_and(|text| text.trim().parse() == Ok(id));
            if is_own {
                // Another kiln may do the same.
                unless_gone(fs::remove_file(&name)).map_err(LayerError::at(&name))?;
            }
        }
        self.forget(id);
        let place = self.place(id);
        trash
            .discard(&place)
            .map(drop)
            .map_err(LayerError::at(&place))
    }

    /// Takes a layer out of the store that lost its files, so that it is made again; says whether it
    /// was one. No process can use what is left of it, so none need be waited for.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn give_up(&self, layer: &Layer) -> Result<bool, LayerError> {
        if layer.files().is_some() {
            return Ok(false);
        }
        self.discard(layer.id(), &Trash::new(self.store()))?;
        Ok(true)
    }

    /// Takes the files of a layer out of the store; its index and facts stay.
    ///
    /// # Errors
    /// When they cannot be removed.
    pub fn discard_files(&self, id: LayerId, trash: &Trash) -> Result<(), LayerError> {
        // Format 1 copied files of a layer to `own`; a directory of that time may still have one.
        for name in ["own", "cover", "diff"] {
            let files = self.place(id).join(name);
            trash.discard(&files).map_err(LayerError::at(&files))?;
        }
        self.measure(id).map_err(LayerError::at(self.place(id)))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use kiln_cache::Store;
    use kiln_files::GuestPath;
    use kiln_oci::Timestamp;

    use super::*;
    use crate::{FileContent, Metadata};

    #[test]
    fn a_discarded_layer_has_no_names() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let layers = LayerStore::new(&store);
        let builder = layers.builder().unwrap();
        let metadata = Metadata::root_owned(0o644, Timestamp::EPOCH);
        let content = FileContent::Bytes(b"x");
        builder
            .add_file(&GuestPath::new("/f"), &metadata, content)
            .unwrap();
        let layer = builder.finish().unwrap();
        let diff_id = layer.diff_id().unwrap();
        assert_eq!(layers.list().unwrap(), [layer.id()]);
        let trash = Trash::new(&store);
        layers.discard_files(layer.id(), &trash).unwrap();
        assert!(layers.by_diff_id(diff_id).is_some() && layer.files().is_none());
        layers.discard(layer.id(), &trash).unwrap();
        assert_eq!(layers.by_diff_id(diff_id), None);
        assert_eq!(layers.layer(layer.id()), None);
        assert!(layers.list().unwrap().is_empty());
        assert_eq!(fs::read_dir(store.path("diffs")).unwrap().count(), 0);
    }
}
