//! From entries to an index.

use std::cmp::Ordering;

use super::entry::{Entry, FieldReader, encoded_length, has_implied_tag};
use super::index::Tree;
use kiln_files::{GrowingBytes, compare_paths, is_clean};

/// Collects entries in any order.
#[derive(Clone, Debug, Default)]
pub struct TreeBuilder {
    entries: GrowingBytes,
    offsets: Vec<u32>,
    /// Whether an implied directory was added, which another entry may have replaced since.
    has_implied: bool,
}

impl TreeBuilder {
    /// Starts an empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts with the entries of a tree; if no others come, it becomes that tree again.
    #[must_use]
    pub fn of(tree: Tree) -> Self {
        let offset = |position| u32::try_from(tree.offset(position)).expect("read as such");
        Self {
            offsets: (0..tree.count).map(offset).collect(),
            has_implied: tree.has_implied,
            entries: GrowingBytes::of(tree.entries),
        }
    }

    /// Adds an entry. Of several with one path the last one added stands.
    ///
    /// # Panics
    /// When the path is not clean, or the index would pass 4 GiB (some 40 million files).
    pub fn push(&mut self, entry: &Entry<'_>) {
        assert!(is_clean(entry.path), "entries have clean paths");
        self.add(|out| entry.encode(out));
    }

    /// Adds the entry at a position of another tree, as it is.
    pub(crate) fn copy(&mut self, tree: &Tree, position: usize) {
        self.add(|out| out.extend_from_slice(tree.encoded(position)));
    }

    fn add(&mut self, append: impl FnOnce(&mut Vec<u8>)) {
        let offset = self.entries.add(append);
        self.has_implied |= has_implied_tag(self.entries.record(offset));
        let offset = u32::try_from(offset).expect("an index stays below 4 GiB");
        self.offsets.push(offset);
    }

    /// Returns how many bytes the entries take that were added.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.entries.len()
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
    pub fn finish(self) -> Tree {
        let Self {
            entries,
            offsets: mut order,
            has_implied,
        } = self;
        let path = |offset: u32| {
            FieldReader(entries.record(offset as usize))
                .short_bytes()
                .expect("push wrote a path")
        };
        let is_in_order =
            order.is_sorted_by(|&a, &b| compare_paths(path(a), path(b)) == Ordering::Less);
        if is_in_order {
            return tree(&order, entries, has_implied);
        }
        // Equal paths keep their order of arrival, and the last one is kept.
        order.sort_by(|&a, &b| compare_paths(path(a), path(b)).then(a.cmp(&b)));
        order.reverse();
        order.dedup_by(|a, b| path(*a) == path(*b));
        order.reverse();
        let mut sorted = GrowingBytes::default();
        for offset in &mut order {
            let entry = entries.record(*offset as usize);
            let entry = &entry[..encoded_length(entry)];
            let moved = sorted.add(|out| out.extend_from_slice(entry));
            *offset = u32::try_from(moved).expect("no more than before");
        }
        tree(&order, sorted, has_implied)
    }
}

fn tree(offsets: &[u32], entries: GrowingBytes, may_have_implied: bool) -> Tree {
    let mut bytes = Vec::with_capacity(offsets.len() * 4);
    for offset in offsets {
        bytes.extend_from_slice(&offset.to_le_bytes());
    }
    let is_implied = |offset: &u32| has_implied_tag(entries.record(*offset as usize));
    Tree {
        count: offsets.len(),
        offsets: bytes.into(),
        has_implied: may_have_implied && offsets.iter().any(is_implied),
        entries: entries.finish(),
    }
}

impl Tree {
    /// Returns a tree with the entries of both, and of two with one path the one of `other`.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        let mut merged = TreeBuilder::new();
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
