//! Verification: a layer on disk compared with its index.
//!
//! Everything is read: contents are hashed, and tar streams that kiln can make again are made again
//! and compared with their digests. What this process could not have stored (owners outside its
//! namespace, devices) is not held against the disk.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, ErrorKind};

use kiln_files::GuestPath;
use kiln_oci::DiffId;
use kiln_threads::Stop;
use kiln_tree::{Entry, LayerId, NodeKind, Tree};

use crate::disk::Root;
use crate::error::LayerError;
use crate::facts::TarOrigin;
use crate::layer::Donor;
use crate::layer::{Layer, LayerStore};
use crate::layer_files::{DONOR, LayerFiles};
use crate::owners::MappedIds;
use crate::scan::{self, ScannedKind, ScannedNode};

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
        let tree = match self.tree() {
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

/// Compares files with an index; their owners only if the disk has them.
fn compare_with(
    tree: &Tree,
    files: &LayerFiles,
    whiteouts: Whiteouts,
    owners: Option<&MappedIds>,
) -> Vec<LayerDamage> {
    let mut nodes: BTreeMap<GuestPath, ScannedNode> = BTreeMap::new();
    for directory in files.directories() {
        let scanned = Root::open(directory)
            .map_err(LayerError::at(directory))
            // Not stopped with the rest: a layer whose scan failed counts as damaged.
            .and_then(|root| scan::scan(&root, &Stop::default()));
        match scanned {
            Ok(found) => {
                for node in found {
                    // What is in the upper one counts.
                    nodes.entry(node.path.clone()).or_insert(node);
                }
            }
            Err(error) => return vec![LayerDamage::Unreadable(error)],
        }
    }
    let nodes: Vec<ScannedNode> = nodes.into_values().collect();
    compare(tree.iter(), &nodes, whiteouts, owners)
}

fn compare<'a>(
    entries: impl Iterator<Item = Entry<'a>>,
    nodes: &[ScannedNode],
    whiteouts: Whiteouts,
    owners: Option<&MappedIds>,
) -> Vec<LayerDamage> {
    let mut rest: HashMap<&[u8], &ScannedNode> = nodes
        .iter()
        .map(|node| (node.path.as_bytes(), node))
        .collect();
    let all = rest.clone();
    let mut damage = Vec::new();
    for entry in entries.filter(|entry| !entry.path.is_empty()) {
        match rest.remove(entry.path) {
            Some(node) => {
                if let Some(what) = difference(&entry, node, &all, owners) {
                    let path = entry.guest_path();
                    damage.push(LayerDamage::Changed { path, what });
                }
            }
            None if entry.kind == NodeKind::Whiteout && whiteouts == Whiteouts::IndexOnly => {}
            None => damage.push(LayerDamage::Missing(entry.guest_path())),
        }
    }
    let mut foreign: Vec<&ScannedNode> = rest.into_values().collect();
    foreign.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    damage.extend(
        foreign
            .into_iter()
            .map(|node| LayerDamage::Foreign(node.path.clone())),
    );
    damage
}

/// Says in which regard a node is not what an entry says.
fn difference(
    entry: &Entry<'_>,
    node: &ScannedNode,
    all: &HashMap<&[u8], &ScannedNode>,
    owners: Option<&MappedIds>,
) -> Option<&'static str> {
    let is_stand_in = matches!(&node.kind, ScannedKind::File(hashed) if hashed.size_bytes == 0);
    match entry.kind {
        // An empty file holds the place of a device that could not be made.
        NodeKind::CharDevice(_) | NodeKind::BlockDevice(_) if is_stand_in => return None,
        NodeKind::HardLink { target } => {
            let first = all.get(target).map(|first| &first.kind);
            return (first != Some(&node.kind)).then_some("content");
        }
        NodeKind::Whiteout => return (node.kind != ScannedKind::Whiteout).then_some("kind"),
        _ => {}
    }
    let found = node.index_kind();
    match (entry.kind, found) {
        (kind, Some(found)) if kind == found => {}
        // The disk does not know that a directory is there for what is in it.
        (NodeKind::Directory { opaque, .. }, Some(NodeKind::Directory { opaque: found, .. }))
            if opaque == found => {}
        (NodeKind::File { .. }, Some(NodeKind::File { .. })) => return Some("content"),
        (NodeKind::Symlink { .. }, Some(NodeKind::Symlink { .. })) => return Some("target"),
        _ => return Some("kind"),
    }
    // Symbolic links have no mode, and file systems differ in how finely they keep times.
    let is_link = matches!(entry.kind, NodeKind::Symlink { .. });
    match () {
        () if !is_link && entry.mode != node.mode => Some("mode"),
        () if owners.is_some_and(|owners| !owners.may_be_uid(entry.uid, node.uid)) => Some("owner"),
        () if owners.is_some_and(|owners| !owners.may_be_gid(entry.gid, node.gid)) => Some("group"),
        () if !is_time_kept(entry.mtime.seconds, node.mtime.seconds) => {
            Some("time of modification")
        }
        () => None,
    }
}

/// Says whether a file system that was to keep one time, in seconds, may have kept the other: those
/// beyond its range become the nearest in it. All that overlayfs is mounted upon know the times of
/// 32 bits at least.
fn is_time_kept(wanted: i64, found: i64) -> bool {
    let (first, last) = (i64::from(i32::MIN), i64::from(i32::MAX));
    wanted == found
        || (wanted > last && (last..wanted).contains(&found))
        || (wanted < first && found > wanted && found <= first)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use kiln_cache::Store;
    use kiln_oci::Timestamp;

    use super::*;
    use crate::{FileContent, LayerStore, Metadata};

    #[test]
    fn times_that_a_disk_cannot_hold_are_the_nearest_that_it_can() {
        let (last, far) = (i64::from(i32::MAX), 1 << 40);
        for (wanted, found, is_kept) in [
            (7, 7, true),
            (7, 8, false),
            (far, last, true),
            // ext4 with large inodes, in the year 2446.
            (far, (1 << 34) - (1 << 31) - 1, true),
            (far, 7, false),
            (far, far + 1, false),
            (-far, i64::from(i32::MIN), true),
            (-far, 0, false),
        ] {
            assert_eq!(is_time_kept(wanted, found), is_kept, "{wanted} {found}");
        }
    }

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
