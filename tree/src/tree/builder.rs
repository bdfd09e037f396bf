//! From entries to an index.

use std::cmp::Ordering;

use super::entry::{Entry, FieldReader, encoded_length};
use super::index::{HEADER, MAGIC, Tree};
use kiln_files::{compare_paths, is_clean};

/// Collects entries in any order.
#[derive(Clone, Debug)]
pub struct TreeBuilder {
    /// What goes in front of the entries, with room for so many offsets, then the entries.
    bytes: Vec<u8>,
    room: usize,
    offsets: Vec<u32>,
}

impl Default for TreeBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl TreeBuilder {
    /// Starts an empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self::with_room(0, 0)
    }

    /// Starts an empty tree with room for entries. If just so many are added in the order of a
    /// walk, nothing is moved any more when it is finished.
    #[must_use]
    pub(crate) fn with_room(count: usize, length: usize) -> Self {
        let start = HEADER + count * 4;
        let mut bytes = Vec::with_capacity(start + length);
        bytes.resize(start, 0);
        Self {
            bytes,
            room: count,
            offsets: Vec::with_capacity(count),
        }
    }

    /// Starts with the entries of a tree; if no others come, it becomes that tree again.
    #[must_use]
    pub fn of(tree: Tree) -> Self {
        Self {
            room: tree.count,
            offsets: (0..tree.count)
                .map(|position| u32::try_from(tree.offset(position)).expect("read as such"))
                .collect(),
            bytes: tree.bytes.into_vec(),
        }
    }

    fn entries(&self) -> &[u8] {
        &self.bytes[HEADER + self.room * 4..]
    }

    /// Adds an entry. Of several with one path the last one added stands.
    ///
    /// # Panics
    /// When the path is not clean, or the index would pass 4 GiB (some 40 million files).
    pub fn push(&mut self, entry: &Entry<'_>) {
        assert!(is_clean(entry.path), "entries have clean paths");
        self.begin_entry();
        entry.encode(&mut self.bytes);
    }

    /// Adds the entry at a position of another tree, as it is.
    pub(crate) fn copy(&mut self, tree: &Tree, position: usize) {
        self.begin_entry();
        self.bytes.extend_from_slice(tree.encoded(position));
    }

    fn begin_entry(&mut self) {
        let offset = u32::try_from(self.entries().len()).expect("an index stays below 4 GiB");
        self.offsets.push(offset);
    }

    /// Returns how many bytes the entries take that were added.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.entries().len()
    }

    /// Returns the number of entries added.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Says whether nothing was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// Sorts the entries and returns the tree.
    #[must_use]
    pub fn finish(mut self) -> Tree {
        let mut order = std::mem::take(&mut self.offsets);
        let entries = self.entries();
        let path = |offset: u32| {
            FieldReader(&entries[offset as usize..])
                .short_bytes()
                .expect("push wrote a path")
        };
        let is_in_order =
            order.is_sorted_by(|&a, &b| compare_paths(path(a), path(b)) == Ordering::Less);
        if !is_in_order {
            // Equal paths keep their order of arrival, and the last one is kept.
            order.sort_by(|&a, &b| compare_paths(path(a), path(b)).then(a.cmp(&b)));
            order.reverse();
            order.dedup_by(|a, b| path(*a) == path(*b));
            order.reverse();
        }
        let count = order.len();
        if is_in_order && count == self.room {
            put_header(&mut self.bytes, &order);
            let bytes = self.bytes.into();
            return Tree { bytes, count };
        }
        let start = HEADER + count * 4;
        let mut bytes = Vec::with_capacity(start + entries.len());
        bytes.resize(start, 0);
        if is_in_order {
            bytes.extend_from_slice(entries);
        } else {
            for offset in &mut order {
                let entry = &entries[*offset as usize..];
                *offset = u32::try_from(bytes.len() - start).expect("no more than before");
                bytes.extend_from_slice(&entry[..encoded_length(entry)]);
            }
        }
        put_header(&mut bytes, &order);
        let bytes = bytes.into();
        Tree { bytes, count }
    }
}

/// Writes what goes in front of the entries.
fn put_header(bytes: &mut [u8], offsets: &[u32]) {
    let count = u32::try_from(offsets.len()).expect("each entry takes more than one byte");
    bytes[..MAGIC.len()].copy_from_slice(MAGIC);
    bytes[MAGIC.len()..HEADER].copy_from_slice(&count.to_le_bytes());
    for (place, offset) in bytes[HEADER..].chunks_exact_mut(4).zip(offsets) {
        place.copy_from_slice(&offset.to_le_bytes());
    }
}

impl Tree {
    /// Returns a tree with the entries of both, and of two with one path the one of `other`.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        let is_shared = |position: &usize| self.position(other.path_at(*position)).is_ok();
        let shared = (0..other.len()).filter(is_shared).count();
        let length = self.entry_bytes().len() + other.entry_bytes().len();
        let mut merged = TreeBuilder::with_room(self.len() + other.len() - shared, length);
        let mut own = 0;
        for position in 0..other.len() {
            let path = other.path_at(position);
            while own < self.len() && compare_paths(self.path_at(own), path).is_lt() {
                merged.copy(self, own);
                own += 1;
            }
            if own < self.len() && self.path_at(own) == path {
                own += 1;
            }
            merged.copy(other, position);
        }
        for rest in own..self.len() {
            merged.copy(self, rest);
        }
        merged.finish()
    }
}

impl Default for Tree {
    fn default() -> Self {
        TreeBuilder::new().finish()
    }
}
