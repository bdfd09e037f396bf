//! Layers that are described only: their digests are known, their bytes are elsewhere.
//!
//! ```text
//! described/<layer id>   JSON: the layer's canonical tar and a blob that holds it
//! doubted/<layer id>     the same of a layer whose blob could not be fetched last time
//! ```
//!
//! Descriptions come with records of other machines. An image can be put together from layers in
//! this form, and pushed to the registry that has their blobs. A step that needs files fetches the
//! blob, and only then is the description checked: the tar must have the digest that it gives, and
//! the files the index that the layer is named by. A description that fails is forgotten. The
//! description of a layer that is in the store is ignored.
//!
//! If the blob of a layer cannot be fetched, its description is marked unavailable: the image can be
//! tried again, but no build relies on it.

use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;

use kiln_cache::{LayerStack, Unsettled};
use kiln_files::unless_gone;
use kiln_oci::DiffId;
use kiln_tree::LayerId;

use crate::build_error::BuildError;
use crate::description::{self, Description, path, unavailable_mark};
use crate::error::LayerError;
use crate::layer::{Layer, LayerStore};
use crate::place::{diff_path, rename_into, replace};
use crate::unpack::UnpackError;

impl LayerStore {
    /// Remembers the description of a layer that is not in the store.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub fn describe(&self, id: LayerId, description: &Description) -> Result<(), LayerError> {
        self.store().hold(Unsettled::Layer(id));
        let bytes = serde_json::to_vec(description).expect("a description is plain data");
        let diff_id = description.blob.diff_id;
        if self.by_diff_id(diff_id).is_none() {
            let text = format!("{id}\n");
            replace(
                self.store(),
                &diff_path(self.store(), diff_id),
                text.as_bytes(),
            )?;
        }
        replace(self.store(), &path(self.store(), id), &bytes)
    }

    /// Marks a described layer unavailable: no build relies on it until it is described again.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn mark_unavailable(&self, id: LayerId) -> Result<(), LayerError> {
        let mark = unavailable_mark(self.store(), id);
        self.known_stacks().forget();
        rename_into(&path(self.store(), id), &mark).map_err(LayerError::at(mark))
    }

    /// Returns what is known of a layer, or none if nothing is. It may be here all the same.
    #[must_use]
    pub fn description(&self, id: LayerId) -> Option<Description> {
        self.store().hold(Unsettled::Layer(id));
        description::read(self.store(), id)
    }

    /// Returns the id of every layer that is described, available or not, sorted, with the file of its
    /// description.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn list_described(&self) -> io::Result<Vec<(LayerId, PathBuf)>> {
        description::list(self.store())
    }

    /// Returns the layer that is described as this tar stream, unless it is here.
    #[must_use]
    pub fn described_as(&self, diff_id: DiffId) -> Option<(LayerId, Description)> {
        let id = self.named(diff_id)?;
        match self.layer(id) {
            Some(_) => None,
            None => {
                let description = self.description(id)?;
                (description.blob.diff_id == diff_id).then_some((id, description))
            }
        }
    }

    /// Says whether a layer is in the store, or described and not marked unavailable.
    #[must_use]
    pub fn knows(&self, id: LayerId) -> bool {
        self.layer(id).is_some() || path(self.store(), id).exists()
    }

    /// Says whether every layer above the base is in the store, or described and not marked
    /// unavailable.
    #[must_use]
    pub fn knows_all(&self, stack: &LayerStack) -> bool {
        self.known_stacks()
            .are_all(stack, |layer| self.knows(layer))
    }

    /// Says whether every layer above the base is in the store.
    #[must_use]
    pub fn has_all(&self, stack: &LayerStack) -> bool {
        self.stacks_here()
            .are_all(stack, |layer| self.layer(layer).is_some())
    }

    /// Unpacks a layer that was described, from the blob of its description.
    ///
    /// # Errors
    /// When the blob does not hold what the description says; the description stays.
    pub fn fulfil(
        &self,
        id: LayerId,
        description: &Description,
        blob: impl Read + Send,
    ) -> Result<Layer, UnpackError> {
        let Description { blob: known, .. } = description;
        let layer = self.apply(blob, Some(known.compression), known.diff_id)?;
        if layer.id() != id {
            let error = LayerError::AnotherLayer {
                expected: id,
                actual: layer.id(),
            };
            return Err(BuildError::from(error).into());
        }
        // The machine that made the layer wrote this tar of the same index.
        layer
            .remember_tar(description.tar())
            .map_err(BuildError::from)?;
        layer
            .remember_blob(known.clone())
            .map_err(BuildError::from)?;
        self.remove_description(id).map_err(BuildError::from)?;
        Ok(layer)
    }

    /// Forgets the description of a layer that is not as described, or whose blob does not exist.
    ///
    /// # Errors
    /// When the description cannot be deleted.
    pub fn forget_description(&self, id: LayerId) -> Result<(), LayerError> {
        if let Some(description) = self.description(id) {
            let path = diff_path(self.store(), description.blob.diff_id);
            // The next layer unpacked from that tar gets the name.
            let named = fs::read_to_string(&path).unwrap_or_default();
            if named.trim() == id.to_string() && self.layer(id).is_none() {
                unless_gone(fs::remove_file(&path)).map_err(LayerError::at(path))?;
            }
        }
        self.remove_description(id)
    }

    fn remove_description(&self, id: LayerId) -> Result<(), LayerError> {
        self.known_stacks().forget();
        for path in [path(self.store(), id), unavailable_mark(self.store(), id)] {
            unless_gone(fs::remove_file(&path)).map_err(LayerError::at(path))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use kiln_cache::{Blobs, Store};
    use kiln_files::GuestPath;
    use kiln_oci::{Compression, Timestamp};

    use super::*;
    use crate::{FileContent, Metadata, Packing};

    fn store() -> (tempfile::TempDir, LayerStore) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        (directory, LayerStore::new(&store))
    }

    fn layer(store: &LayerStore, content: &str) -> Layer {
        let builder = store.builder().unwrap();
        let metadata = Metadata::root_owned(0o644, Timestamp::now());
        let content = FileContent::Bytes(content.as_bytes());
        builder
            .add_file(&GuestPath::new("file"), &metadata, content)
            .unwrap();
        builder.finish().unwrap()
    }

    /// Returns what another machine would say of a layer, and the blob.
    fn described(store: &LayerStore, layer: &Layer) -> (Description, Vec<u8>) {
        let blobs = Blobs::new(store.store());
        let blob = layer.pack(&blobs, Packing::new(Compression::Gzip)).unwrap();
        let bytes = blobs.read(blob.descriptor.digest).unwrap();
        let tar_bytes = layer.canonical_tar().unwrap().size_bytes;
        let description = Description {
            tar_bytes,
            blob,
            place: "there".to_owned(),
        };
        (description, bytes)
    }

    #[test]
    fn a_layer_is_known_before_it_is_here() {
        let ((_one, there), (_two, here)) = (store(), store());
        let original = layer(&there, "content");
        let (description, blob) = described(&there, &original);
        let (id, diff_id) = (original.id(), description.blob.diff_id);
        assert!(!here.knows(id));
        here.describe(id, &description).unwrap();
        assert!(here.knows(id));
        assert_eq!(here.layer(id), None);
        assert_eq!(here.by_diff_id(diff_id), None);
        assert_eq!(here.described_as(diff_id), Some((id, description.clone())));
        let layer = here.fulfil(id, &description, &*blob).unwrap();
        assert_eq!(layer, original);
        assert_eq!(layer.canonical_tar().unwrap(), description.tar());
        assert_eq!(here.by_diff_id(diff_id), Some(layer));
        assert_eq!(
            (here.description(id), here.described_as(diff_id)),
            (None, None)
        );
    }

    #[test]
    fn an_unavailable_layer_can_be_tried_again() {
        let ((_one, there), (_two, here)) = (store(), store());
        let original = layer(&there, "content");
        let (description, blob) = described(&there, &original);
        let id = original.id();
        here.describe(id, &description).unwrap();
        here.mark_unavailable(id).unwrap();
        assert!(!here.knows(id));
        assert_eq!(here.list_described().unwrap().len(), 1);
        let (_, known) = here.described_as(description.blob.diff_id).unwrap();
        assert_eq!(known, description);
        // Another record describes it once more.
        here.describe(id, &description).unwrap();
        assert!(here.knows(id));
        assert_eq!(here.list_described().unwrap().len(), 1);
        here.mark_unavailable(id).unwrap();
        here.fulfil(id, &description, &*blob).unwrap();
        assert!(here.knows(id) && here.list_described().unwrap().is_empty());
    }

    /// A shared cache said that a base's tar is another layer, which came here later.
    #[test]
    fn a_description_makes_no_layer_another_one() {
        let ((_one, there), (_two, here)) = (store(), store());
        let (genuine, other) = (layer(&there, "genuine"), layer(&there, "other"));
        let (description, blob) = described(&there, &genuine);
        let diff_id = description.blob.diff_id;
        here.describe(other.id(), &description).unwrap();
        assert!(here.described_as(diff_id).is_some());
        assert_eq!(layer(&here, "other"), other);
        assert_eq!(here.by_diff_id(diff_id), None);
        assert_eq!(here.described_as(diff_id), None);
        let compression = Some(description.blob.compression);
        let applied = here.apply(&*blob, compression, diff_id).unwrap();
        assert_eq!(applied, genuine);
        assert_eq!(here.by_diff_id(diff_id), Some(genuine.clone()));
        // Nor does it later.
        here.describe(other.id(), &description).unwrap();
        assert_eq!(here.by_diff_id(diff_id), Some(genuine));
    }

    #[test]
    fn forgetting_a_description_keeps_the_names_of_other_layers() {
        let ((_one, there), (_two, here)) = (store(), store());
        let (genuine, other) = (layer(&there, "genuine"), layer(&there, "other"));
        let (description, blob) = described(&there, &genuine);
        let diff_id = description.blob.diff_id;
        let compression = Some(description.blob.compression);
        here.apply(&*blob, compression, diff_id).unwrap();
        here.describe(other.id(), &description).unwrap();
        here.forget_description(other.id()).unwrap();
        assert_eq!(here.by_diff_id(diff_id), Some(genuine.clone()));
        // Nor does a layer that is here lose its own name.
        here.describe(genuine.id(), &description).unwrap();
        here.forget_description(genuine.id()).unwrap();
        assert_eq!(here.by_diff_id(diff_id), Some(genuine));
    }

    #[test]
    fn a_false_description_is_forgotten() {
        let ((_one, there), (_two, here)) = (store(), store());
        let (one, other) = (layer(&there, "one"), layer(&there, "other"));
        let (description, blob) = described(&there, &other);
        let diff_id = description.blob.diff_id;
        // The name of one layer, the bytes of another.
        here.describe(one.id(), &description).unwrap();
        let error = here.fulfil(one.id(), &description, &*blob).unwrap_err();
        assert!(error.to_string().contains("instead of"), "{error}");
        let mut damaged = blob;
        let middle = damaged.len() / 2;
        damaged[middle] ^= 1;
        assert!(here.fulfil(one.id(), &description, &*damaged).is_err());
        here.forget_description(one.id()).unwrap();
        assert!(!here.knows(one.id()));
        assert_eq!(here.described_as(diff_id), None);
        here.forget_description(one.id()).unwrap();
    }
}
