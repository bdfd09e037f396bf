//! The index itself: its bytes, and look-ups in them.

use std::cmp::Ordering;
use std::fmt;
use std::io::{self, Write};
use std::ops::Range;

use super::entry::{Entry, FieldReader, NodeKind, encoded_length, has_implied_tag};
use crate::{Blake3, LayerId};
use kiln_files::{FileBytes, compare_paths, is_clean};

const MAGIC: &[u8; 10] = b"kilntree1\0";
const HEADER: usize = MAGIC.len() + 4;

/// Bytes that are not an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid file index")]
pub struct InvalidTree;

/// A sorted index of files.
#[derive(Clone, PartialEq, Eq)]
pub struct Tree {
    pub(super) count: usize,
    /// Where each entry begins, as four bytes.
    pub(super) offsets: FileBytes,
    pub(super) entries: FileBytes,
    /// Whether any directory is only there for what is in it.
    pub(super) has_implied: bool,
}

impl Tree {
    /// Takes the bytes of an index, as [`Tree::write`] writes them.
    ///
    /// # Errors
    /// When they are not one: every entry is looked at, so a damaged file is found here.
    pub fn from_bytes(bytes: impl Into<FileBytes>) -> Result<Self, InvalidTree> {
        let mut tree = Self::of_checked_bytes(bytes, false)?;
        let mut previous: Option<(&[u8], usize)> = None;
        let mut has_implied = false;
        for position in 0..tree.count {
            let offset = tree.offset(position);
            let bytes = tree.entries.get(offset..).ok_or(InvalidTree)?;
            let (entry, _) = Entry::decode(bytes).ok_or(InvalidTree)?;
            let in_order = previous.is_none_or(|(path, before)| {
                before < offset && compare_paths(path, entry.path) == Ordering::Less
            });
            if !in_order || !is_clean(entry.path) {
                return Err(InvalidTree);
            }
            has_implied |= matches!(entry.kind, NodeKind::Directory { implied: true, .. });
            previous = Some((entry.path, offset));
        }
        tree.has_implied = has_implied;
        Ok(tree)
    }

    /// Takes bytes that [`Tree::from_bytes`] took before, of which then [`Tree::has_implied`] was
    /// `has_implied`. In time that does not depend on how many entries there are: none is looked at.
    ///
    /// # Errors
    /// When they are shorter than the count of entries wants.
    pub fn of_checked_bytes(
        bytes: impl Into<FileBytes>,
        has_implied: bool,
    ) -> Result<Self, InvalidTree> {
        let bytes = bytes.into();
        let count = bytes
            .strip_prefix(MAGIC)
            .and_then(|rest| rest.first_chunk::<4>())
            .map(|count| u32::from_le_bytes(*count) as usize)
            .ok_or(InvalidTree)?;
        let offsets_end = count
            .checked_mul(4)
            .and_then(|length| length.checked_add(HEADER))
            .filter(|&end| end <= bytes.len())
            .ok_or(InvalidTree)?;
        Ok(Self {
            count,
            offsets: bytes.part(HEADER..offsets_end),
            entries: bytes.part(offsets_end..bytes.len()),
            has_implied,
        })
    }

    /// Writes the bytes to be stored.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let count = u32::try_from(self.count).expect("each entry takes more than one byte");
        to.write_all(MAGIC)?;
        to.write_all(&count.to_le_bytes())?;
        to.write_all(&self.offsets)?;
        to.write_all(&self.entries)
    }

    /// Returns how many bytes [`Tree::write`] writes.
    #[must_use]
    pub fn file_length(&self) -> u64 {
        (HEADER + self.offsets.len() + self.entries.len()) as u64
    }

    /// Returns kiln's identity of a layer with this index.
    #[must_use]
    pub fn layer_id(&self) -> LayerId {
        LayerId(Blake3::of(&self.entries))
    }

    /// Returns the number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Says whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the entry at a position below [`Tree::len`].
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn at(&self, position: usize) -> Entry<'_> {
        assert!(position < self.count, "position beyond the end of the tree");
        Entry::decode(&self.entries[self.offset(position)..])
            .expect("entries were checked when the tree was made")
            .0
    }

    /// Returns the entries in the order of a walk.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Entry<'_>> + DoubleEndedIterator {
        (0..self.count).map(|position| self.at(position))
    }

    /// Says whether there are directories that are only there for what is in them.
    #[must_use]
    pub fn has_implied(&self) -> bool {
        self.has_implied
    }

    /// Returns the directories that are only there for what is in them.
    pub fn implied(&self) -> impl Iterator<Item = Entry<'_>> {
        let count = if self.has_implied { self.count } else { 0 };
        (0..count)
            .filter(|&position| has_implied_tag(&self.entries[self.offset(position)..]))
            .map(|position| self.at(position))
    }

    /// Returns the position of `path`, or where it would be inserted.
    ///
    /// # Errors
    /// The place of insertion, when the path is not in the tree.
    pub fn position(&self, path: &[u8]) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low.midpoint(high);
            match compare_paths(self.path_at(middle), path) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Ok(middle),
            }
        }
        Err(low)
    }

    /// Returns the entry at `path`.
    #[must_use]
    pub fn get(&self, path: &[u8]) -> Option<Entry<'_>> {
        self.position(path).ok().map(|position| self.at(position))
    }

    /// Returns the positions of everything below `directory`, itself left out.
    #[must_use]
    pub fn below(&self, directory: &[u8]) -> Range<usize> {
        if directory.is_empty() {
            let start = usize::from(self.count > 0 && self.path_at(0).is_empty());
            return start..self.count;
        }
        let start = match self.position(directory) {
            Ok(position) => position + 1,
            Err(position) => position,
        };
        let is_below = |path: &[u8]| {
            path.len() > directory.len()
                && path.starts_with(directory)
                && path[directory.len()] == b'/'
        };
        // Everything below a directory stands together, so its end can be searched by halves.
        let (mut low, mut high) = (start, self.count);
        while low < high {
            let middle = low.midpoint(high);
            if is_below(self.path_at(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        start..low
    }

    /// Returns the bytes of the entry at a position, and of nothing else.
    pub(super) fn encoded(&self, position: usize) -> &[u8] {
        let entry = &self.entries[self.offset(position)..];
        &entry[..encoded_length(entry)]
    }

    /// Returns how many entries this tree has in common with another, counted from the start and
    /// up to `most`.
    #[must_use]
    pub fn common_start(&self, other: &Self, most: usize) -> usize {
        let most = most.min(self.count).min(other.count);
        (0..most)
            .find(|&position| self.encoded(position) != other.encoded(position))
            .unwrap_or(most)
    }

    /// Returns the path at a position below [`Tree::len`].
    ///
    /// # Panics
    /// When there is none.
    pub(crate) fn path_at(&self, position: usize) -> &[u8] {
        FieldReader(&self.entries[self.offset(position)..])
            .short_bytes()
            .expect("entries were checked when the tree was made")
    }

    pub(super) fn offset(&self, position: usize) -> usize {
        let at = position * 4;
        let bytes = self.offsets[at..at + 4]
            .try_into()
            .expect("a slice of four bytes");
        u32::from_le_bytes(bytes) as usize
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests;
