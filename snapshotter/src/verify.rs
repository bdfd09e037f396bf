//! Verification: a layer on disk compared with its index.
//!
//! Everything is read: contents are hashed, and tar streams that kiln can make again are made again
//! and compared with their digests. What this process could not have stored (owners outside its
//! namespace, devices) is not held against the disk.

use std::fs::{self, File};
use std::io::{self, ErrorKind};

use kiln_oci::DiffId;
use kiln_tree::LayerId;

use crate::compare::compare_with;
use crate::error::LayerError;
use crate::facts::TarOrigin;
use crate::layer::Donor;
use crate::layer::{Layer, LayerStore};
use crate::layer_damage::{LayerDamage, Whiteouts};
use crate::layer_files::{DONOR, LayerFiles};
use crate::owners::MappedIds;

impl LayerStore {
    /// Looks for the damage of a layer that has a directory, whole or not; of one that has none
    /// nothing is wrong.
    #[must_use]
    pub fn verify(&self, id: LayerId, whiteouts: Whiteouts) -> Vec<LayerDamage> {
        let layer = Layer::among(self, id);
        match fs::symlink_metadata(layer.place()) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => vec![LayerDamage::Unreadable(LayerError::at(layer.place())(
                error,
            ))],
            Ok(_) => layer.verify(whiteouts),
        }
    }
}

impl Layer {
    /// Compares the layer with its index and its known digests, and returns what is wrong: nothing
    /// for a whole one.
    #[must_use]
    pub fn verify(&self, whiteouts: Whiteouts) -> Vec<LayerDamage> {
        let tree = match self.tree_looked_at() {
            Ok(tree) => tree,
            Err(error) if error.is_momentary() => return vec![LayerDamage::Unreadable(error)],
            Err(_) => return vec![LayerDamage::Index],
        };
        if tree.layer_id() != self.id() {
            return vec![LayerDamage::Index];
        }
        let facts = match self.stored_facts() {
            Ok(Some(facts)) => facts,
            Err(error) if error.is_momentary() => return vec![LayerDamage::Unreadable(error)],
            Ok(None) | Err(_) => return vec![LayerDamage::Facts],
        };
        let Some(files) = self.files() else {
            return vec![self.without_files()];
        };
        // What another kiln had no ids for is no damage.
        let owners = match self.restore_owners() {
            Ok(true) => Some(MappedIds::of_this_process()),
            Ok(false) => None,
            Err(error) => return vec![LayerDamage::Unreadable(error)],
        };
        let compare_with = |files: &LayerFiles| compare_with(&tree, files, whiteouts, owners);
        let mut damage = compare_with(&files);
        if damage.is_empty() {
            damage.extend(self.verify_tars());
        }
        if damage.is_empty() {
            let is_nameless = |diff_id: &DiffId| self.layers().by_diff_id(*diff_id).is_none();
            let diff_ids = facts.tars.iter().map(|tar| tar.diff_id);
            damage.extend(diff_ids.filter(is_nameless).map(LayerDamage::Name));
        }
        if matches!(self.look_up_donor(), Donor::Unknown) {
            damage.push(self.without_files());
        }
        // Damage of the donor may be hidden in this layer, but the donor will have to go.
        if let Some(donor) = self.donor() {
            damage.extend(donor.verify(whiteouts));
        }
        damage
    }

    /// Says why no files were found.
    fn without_files(&self) -> LayerDamage {
        // What tells where they are, and they themselves, here and of the layer that they lie on.
        let donor = self.donor();
        let layers = [Some(self), donor.as_ref()].into_iter().flatten();
        let places = layers.flat_map(|layer| [layer.path(DONOR), layer.path("diff")]);
        let unreadable = places
            .filter_map(|path| File::open(&path).err().map(LayerError::at(path)))
            .find(LayerError::is_momentary);
        unreadable.map_or(LayerDamage::NoFiles, LayerDamage::Unreadable)
    }

    /// Makes the tar streams again that kiln made, and compares their digests.
    fn verify_tars(&self) -> Option<LayerDamage> {
        let tars = self.facts().unwrap_or_default().tars;
        let own = tars.iter().find(|tar| tar.origin == TarOrigin::Canonical)?;
        match self.write_tar(&mut io::sink()) {
            Ok(tar) if tar.diff_id == own.diff_id => None,
            Ok(tar) => Some(LayerDamage::DiffId {
                expected: own.diff_id,
                actual: tar.diff_id,
            }),
            Err(error) => Some(LayerDamage::Unreadable(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use kiln_cache::Store;
    use kiln_files::GuestPath;
    use kiln_oci::Timestamp;

    use super::*;
    use crate::{FileContent, LayerStore, Metadata};

    /// Makes a layer, lets `damage` loose on its directory, and says what is found.
    fn found(damage: impl FnOnce(&Path)) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        let layers = LayerStore::new(&Store::open(directory.path()).unwrap());
        let builder = layers.builder().unwrap();
        let metadata = |mode| Metadata::root_owned(mode, Timestamp::from_seconds(7));
        let path = GuestPath::new;
        builder
            .add_directory(&path("/d"), &metadata(0o755))
            .unwrap();
        let content = FileContent::Bytes(b"text");
        builder
            .add_file(&path("/d/file"), &metadata(0o644), content)
            .unwrap();
        builder
            .add_hard_link(&path("/d/name"), &path("/d/file"))
            .unwrap();
        builder
            .add_symlink(&path("/link"), &metadata(0o777), b"d")
            .unwrap();
        let layer = builder.finish().unwrap();
        layer.diff_id().unwrap();
        damage(layer.place());
        let layer = LayerStore::new(layers.store()).layer(layer.id()).unwrap();
        let damage = layer.verify(Whiteouts::Stored);
        damage.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_whole_layer_has_no_damage() {
        assert!(found(|_| {}).is_empty());
    }

    #[test]
    fn damage_is_found_and_named() {
        let flip = |layer: &Path| {
            let file = layer.join("diff/d/file");
            let time = fs::metadata(&file).unwrap().modified().unwrap();
            fs::write(&file, "tExt").unwrap();
            File::open(&file).unwrap().set_modified(time).unwrap();
        };
        assert_eq!(found(flip), ["/d/file: content changed"]);
        let chmod = |layer: &Path| {
            let mode = fs::Permissions::from_mode(0o600);
            fs::set_permissions(layer.join("diff/d/file"), mode).unwrap();
        };
        assert_eq!(found(chmod), ["/d/file: mode changed"]);
        let replace = |layer: &Path| {
            fs::remove_file(layer.join("diff/link")).unwrap();
            fs::write(layer.join("diff/new"), "").unwrap();
        };
        assert_eq!(
            found(replace),
            ["/link is missing", "/new does not belong to it"]
        );
        let cut = |layer: &Path| {
            let index = fs::read(layer.join("index")).unwrap();
            fs::write(layer.join("index"), &index[..index.len() / 2]).unwrap();
        };
        assert_eq!(found(cut), ["its index is damaged"]);
        let empty = |layer: &Path| fs::remove_dir_all(layer.join("diff")).unwrap();
        assert_eq!(found(empty), ["its files are gone"]);
        let tear = |layer: &Path| fs::write(layer.join("facts"), "{").unwrap();
        assert_eq!(found(tear), ["what is known of its tar is damaged"]);
        let rename = |layer: &Path| {
            let names = layer.ancestors().nth(3).unwrap().join("diffs");
            for name in fs::read_dir(names).unwrap() {
                // What is no name at all would be put right on the way.
                fs::write(name.unwrap().path(), "0".repeat(64)).unwrap();
            }
        };
        let [only] = &found(rename)[..] else {
            panic!("one thing is wrong");
        };
        assert!(only.starts_with("it is not found by its diff id sha256:"));
        let lie = |layer: &Path| {
            let facts = fs::read_to_string(layer.join("facts")).unwrap();
            let (before, after) = facts.split_once("sha256:").unwrap();
            let other = format!("{before}sha256:{}{}", "0".repeat(64), &after[64..]);
            fs::write(layer.join("facts"), other).unwrap();
        };
        let [only] = &found(lie)[..] else {
            panic!("one thing is wrong");
        };
        assert!(
            only.ends_with(&format!("instead of sha256:{}", "0".repeat(64))),
            "{only}"
        );
    }
}
