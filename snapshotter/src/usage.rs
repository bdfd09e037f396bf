//! What layers take on disk: a fact that is written down when a layer gets its files, so that nobody
//! has to walk them.

use std::io;

use kiln_cache::{DiskUsage, SpreadFile};
use kiln_tree::{LayerId, NodeKind, Tree};

use crate::checked_index;
use crate::disk::Root;
use crate::facts::LayerFacts;
use crate::layer::{Layer, LayerStore};
use crate::layer_files::DONOR;

/// From this length in bytes on a file is looked at, because it may have holes.
const LARGE: u64 = 1 << 20;

/// The longest target in bytes that a symbolic link keeps in its inode on ext4, which others exceed.
const SHORT_TARGET: usize = 59;

/// Returns what the files of an index take that lie in `root`. Small ones are not looked at.
pub(crate) fn of_files(root: &Root, tree: &Tree) -> DiskUsage {
    let in_inode = DiskUsage {
        bytes: 0,
        inodes: 1,
    };
    let of_entry = |entry: kiln_tree::Entry<'_>| match entry.kind {
        NodeKind::File { size: 0, .. } => in_inode,
        NodeKind::File { size, .. } if size >= LARGE => match root.stat(&entry.guest_path()) {
            #[expect(clippy::cast_sign_loss, reason = "a file has no negative size")]
            Ok(stat) => DiskUsage {
                // stat(2): st_blocks counts 512 bytes on every file system.
                bytes: stat.st_blocks as u64 * 512,
                inodes: 1,
            },
            Err(_) => DiskUsage::of_lengths([size]),
        },
        NodeKind::File { size, .. } => DiskUsage::of_lengths([size]),
        NodeKind::Directory { .. } => DiskUsage::of_lengths([0]),
        NodeKind::Symlink { target } if target.len() > SHORT_TARGET => DiskUsage::of_lengths([0]),
        NodeKind::HardLink { .. } => DiskUsage::default(),
        NodeKind::Symlink { .. }
        | NodeKind::CharDevice(_)
        | NodeKind::BlockDevice(_)
        | NodeKind::Fifo
        | NodeKind::Whiteout => in_inode,
    };
    tree.iter().map(of_entry).sum()
}

/// Returns what a layer takes whose files take `files`.
pub(crate) fn of_layer(index: &Tree, files: DiskUsage) -> DiskUsage {
    let note = if checked_index::is_noted(index) {
        DiskUsage::of_lengths([0])
    } else {
        DiskUsage::default()
    };
    let index = index.file_length();
    // Its directory, that of the files, the index, the facts, and what most layers get besides: the
    // name of an earlier one.
    files + note + DiskUsage::of_lengths([0, 0, index, 0, 0])
}

/// What is known of a layer without reading its index.
#[derive(Clone, Debug)]
pub struct LayerSummary {
    /// The layer.
    pub id: LayerId,
    /// Its tar streams and blobs.
    pub facts: LayerFacts,
    /// What it takes on disk.
    pub usage: DiskUsage,
    /// The layer that its files lie on.
    pub donor: Option<LayerId>,
}

impl LayerStore {
    /// Returns what is known of every layer that has a directory, whole or not, sorted by id.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn summaries(&self) -> io::Result<Vec<LayerSummary>> {
        let look = |place: &SpreadFile<'_>| {
            let Ok(id) = place.name().parse() else {
                return Ok(None);
            };
            let facts = place.read_inside("facts").unwrap_or_default();
            let facts: LayerFacts = serde_json::from_slice(&facts).unwrap_or_default();
            let donor = place.read_inside(DONOR).unwrap_or_default();
            let donor = str::from_utf8(&donor).unwrap_or_default();
            Ok(Some(LayerSummary {
                id,
                usage: self.usage(id, &facts)?,
                facts,
                donor: donor.trim_end().parse().ok(),
            }))
        };
        let mut found = self.store().look_at_spread("layers", look)?;
        found.sort_unstable_by_key(|layer| layer.id);
        Ok(found)
    }

    /// Returns what a layer takes on disk, by its facts; where these do not say it, it is measured,
    /// and said by them from now on.
    ///
    /// # Errors
    /// When it has to be measured and cannot be read.
    fn usage(&self, id: LayerId, facts: &LayerFacts) -> io::Result<DiskUsage> {
        match facts.disk {
            Some(usage) => Ok(usage),
            None => self.measure(id),
        }
    }

    /// Measures a layer, and notes the result.
    pub(crate) fn measure(&self, id: LayerId) -> io::Result<DiskUsage> {
        let layer = Layer::new(self.store(), id);
        let usage = DiskUsage::of_tree(layer.place())?;
        // Where it cannot be noted, it is measured again.
        let _ = layer.remember_usage(usage);
        Ok(usage)
    }
}

#[cfg(test)]
mod tests {
    use kiln_cache::{Store, Trash};
    use kiln_files::GuestPath;
    use kiln_oci::Timestamp;

    use super::*;
    use crate::{FileContent, Metadata};

    #[test]
    fn a_layer_says_what_it_takes_without_a_walk() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let layers = LayerStore::new(&store);
        let builder = layers.builder().unwrap();
        let file = |path: &str, length: usize| {
            let metadata = Metadata::root_owned(0o644, Timestamp::EPOCH);
            let content = vec![1; length];
            let content = FileContent::Bytes(&content);
            builder
                .add_file(&GuestPath::new(path), &metadata, content)
                .unwrap();
        };
        for (path, length) in [("/empty", 0), ("/small", 5000), ("/large", 3_000_000)] {
            file(path, length);
        }
        let (link, target) = (GuestPath::new("/link"), GuestPath::new("/small"));
        builder.add_hard_link(&link, &target).unwrap();
        let sparse = tempfile::tempfile().unwrap();
        sparse.set_len(1 << 30).unwrap();
        let metadata = Metadata::root_owned(0o644, Timestamp::EPOCH);
        let content = FileContent::File(&sparse);
        builder
            .add_file(&GuestPath::new("/sparse"), &metadata, content)
            .unwrap();
        let layer = builder.finish().unwrap();
        let usage = layer.facts().unwrap().disk.unwrap();
        let measured = DiskUsage::of_tree(layer.place()).unwrap();
        assert_eq!(usage.inodes, measured.inodes + 1);
        let difference = usage.bytes.abs_diff(measured.bytes);
        assert!(difference <= 8 * 4096, "{usage:?} {measured:?}");

        layers
            .discard_files(layer.id(), &Trash::new(&store))
            .unwrap();
        let left = layer.facts().unwrap().disk.unwrap();
        assert_eq!(left, DiskUsage::of_tree(layer.place()).unwrap());
        assert!(left.bytes < 30_000, "{left:?}");
    }

    /// Images call the layer by the digest of its tar. What is left of damaged facts says nothing
    /// against that; new ones would.
    #[test]
    fn damaged_facts_are_not_replaced_by_a_look() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let layers = LayerStore::new(&store);
        let builder = layers.builder().unwrap();
        let metadata = Metadata::root_owned(0o644, Timestamp::EPOCH);
        let content = FileContent::Bytes(b"content");
        builder
            .add_file(&GuestPath::new("/file"), &metadata, content)
            .unwrap();
        let layer = builder.finish().unwrap();
        let tar = layer.canonical_tar().unwrap();
        for damaged in ["", "{\"tars\":", "x"] {
            std::fs::write(layer.path("facts"), damaged).unwrap();
            assert!(layers.summaries().unwrap()[0].usage.bytes > 0);
            let left = std::fs::read_to_string(layer.path("facts")).unwrap();
            assert_eq!(left, damaged);
            assert!(LayerStore::new(&store).by_diff_id(tar.diff_id).is_some());
        }
    }

    #[test]
    fn usage_that_no_fact_says_is_measured_and_noted() {
        let directory = tempfile::tempdir().unwrap();
        let layers = LayerStore::new(&Store::open(directory.path()).unwrap());
        let layer = layers.empty().unwrap();
        std::fs::write(layer.path("facts"), "{}").unwrap();
        let facts = layer.facts().unwrap();
        let measured = layers.usage(layer.id(), &facts).unwrap();
        assert!(measured.inodes >= 3, "{measured:?}");
        assert_eq!(layer.facts().unwrap().disk, Some(measured));
        let wrong = DiskUsage {
            bytes: 1,
            inodes: 1,
        };
        let facts = LayerFacts {
            disk: Some(wrong),
            ..facts
        };
        assert_eq!(layers.usage(layer.id(), &facts).unwrap(), wrong);
    }
}
