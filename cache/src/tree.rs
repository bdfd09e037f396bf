//! The index of a tree of files: what a layer or a build context holds, without the bytes.
//!
//! An index is a sorted list of entries (path, type, mode, owner, size, modification time, link
//! target, extended attributes, BLAKE3 of the content). Look-ups, copies, cache keys, tar streams
//! and explanations all read indexes; only what needs the bytes opens files. The index of a layer
//! decides what is in the layer: where the disk cannot say something (an owner that the user
//! namespace does not map, a device node), the index still does.
//!
//! # Form
//!
//! One byte string, in memory as on disk, so that reading an index of 20,000 files is one `read`
//! and no allocation per file. All numbers are little-endian.
//!
//! ```text
//! "kilntree1\0"   10 bytes
//! count           u32
//! offsets         count * u32, from the start of the entries
//! entries         in the order of a walk (compare_paths)
//! ```
//!
//! The digest of a tree ([`LayerId`] for a layer) is the BLAKE3 of the entries alone.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Range;

use crate::guest_path::{compare_paths, is_clean};
use crate::{Blake3, GuestPath, LayerId, Timestamp};

const MAGIC: &[u8; 10] = b"kilntree1\0";
const HEADER: usize = MAGIC.len() + 4;

/// One file, directory, link or other node.
///
/// Borrowed: from a [`Tree`] when read, from anywhere when given to a [`TreeBuilder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Clean path relative to the root, as the bytes of a [`GuestPath`].
    pub path: &'a [u8],
    /// What it is.
    pub kind: Kind<'a>,
    /// Permission bits with set-user-id, set-group-id and sticky: `mode & 0o7777`.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of last modification.
    pub mtime: Timestamp,
    /// Extended attributes.
    pub xattrs: Xattrs<'a>,
}

/// The kinds of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// A regular file; the first of its names, if it has several in this tree.
    File {
        /// Length in bytes.
        size: u64,
        /// BLAKE3 of the content.
        hash: Blake3,
    },
    /// A further name of a regular file of the same tree.
    HardLink {
        /// Clean path of the name that comes first in the order of a walk.
        target: &'a [u8],
    },
    /// A directory.
    Directory {
        /// In a layer: hides everything that the layers below have in this directory.
        opaque: bool,
    },
    /// A symbolic link.
    Symlink {
        /// Its text.
        target: &'a [u8],
    },
    /// A character device.
    CharDevice(Device),
    /// A block device.
    BlockDevice(Device),
    /// A named pipe.
    Fifo,
    /// In a layer: hides what the layers below have at this path.
    Whiteout,
}

/// A device number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Which driver.
    pub major: u32,
    /// Which device of the driver.
    pub minor: u32,
}

/// Extended attributes: names and values, sorted by name, in encoded form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Xattrs<'a>(&'a [u8]);

impl<'a> Xattrs<'a> {
    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// Returns name and value of each.
    pub fn iter(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let mut rest = Reader(self.0);
        std::iter::from_fn(move || {
            if rest.0.is_empty() {
                return None;
            }
            let name = rest.short_bytes()?;
            let value = rest.long_bytes()?;
            Some((name, value))
        })
    }
}

/// Extended attributes being collected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct XattrsBuf(Vec<u8>);

impl XattrsBuf {
    /// Encodes `pairs` of name and value; sorts them.
    #[must_use]
    pub fn new(mut pairs: Vec<(Vec<u8>, Vec<u8>)>) -> Self {
        pairs.sort_unstable();
        pairs.dedup_by(|later, earlier| later.0 == earlier.0);
        let mut bytes = Vec::new();
        for (name, value) in pairs {
            put_short(&mut bytes, &name);
            put_long(&mut bytes, &value);
        }
        Self(bytes)
    }

    /// Copies borrowed ones.
    #[must_use]
    pub fn from_xattrs(xattrs: Xattrs<'_>) -> Self {
        Self(xattrs.0.to_owned())
    }

    /// Borrows them.
    #[must_use]
    pub fn as_xattrs(&self) -> Xattrs<'_> {
        Xattrs(&self.0)
    }
}

impl Entry<'_> {
    /// Returns the path as an owned value.
    #[must_use]
    pub fn guest_path(&self) -> GuestPath {
        GuestPath::from_clean(self.path).expect("trees hold clean paths only")
    }

    /// Says whether this is a directory.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        matches!(self.kind, Kind::Directory { .. })
    }

    /// Says whether both describe the same node apart from its path: what a layer would not
    /// record as a change.
    #[must_use]
    pub fn same_node(&self, other: &Self) -> bool {
        let at_same_path = Entry {
            path: other.path,
            ..*self
        };
        at_same_path == *other
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_short(out, self.path);
        let tag = match self.kind {
            Kind::File { .. } => 0,
            Kind::HardLink { .. } => 1,
            Kind::Directory { opaque: false } => 2,
            Kind::Directory { opaque: true } => 3,
            Kind::Symlink { .. } => 4,
            Kind::CharDevice(_) => 5,
            Kind::BlockDevice(_) => 6,
            Kind::Fifo => 7,
            Kind::Whiteout => 8,
        };
        out.push(tag);
        out.extend_from_slice(&self.mode.to_le_bytes());
        out.extend_from_slice(&self.uid.to_le_bytes());
        out.extend_from_slice(&self.gid.to_le_bytes());
        out.extend_from_slice(&self.mtime.seconds.to_le_bytes());
        out.extend_from_slice(&self.mtime.nanoseconds.to_le_bytes());
        match self.kind {
            Kind::File { size, hash } => {
                out.extend_from_slice(&size.to_le_bytes());
                out.extend_from_slice(hash.as_bytes());
            }
            Kind::HardLink { target } | Kind::Symlink { target } => put_short(out, target),
            Kind::CharDevice(device) | Kind::BlockDevice(device) => {
                out.extend_from_slice(&device.major.to_le_bytes());
                out.extend_from_slice(&device.minor.to_le_bytes());
            }
            Kind::Directory { .. } | Kind::Fifo | Kind::Whiteout => {}
        }
        put_long(out, self.xattrs.0);
    }
}

impl<'a> Entry<'a> {
    fn decode(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let path = reader.short_bytes()?;
        let tag = reader.take(1)?[0];
        let mode = reader.u16()?;
        let uid = reader.u32()?;
        let gid = reader.u32()?;
        let mtime = Timestamp {
            seconds: i64::from_le_bytes(reader.array()?),
            nanoseconds: reader.u32()?,
        };
        let kind = match tag {
            0 => Kind::File {
                size: u64::from_le_bytes(reader.array()?),
                hash: Blake3::from_bytes(reader.array()?),
            },
            1 => Kind::HardLink {
                target: reader.short_bytes()?,
            },
            2 => Kind::Directory { opaque: false },
            3 => Kind::Directory { opaque: true },
            4 => Kind::Symlink {
                target: reader.short_bytes()?,
            },
            5 => Kind::CharDevice(reader.device()?),
            6 => Kind::BlockDevice(reader.device()?),
            7 => Kind::Fifo,
            8 => Kind::Whiteout,
            _ => return None,
        };
        let xattrs = Xattrs(reader.long_bytes()?);
        Some(Self {
            path,
            kind,
            mode,
            uid,
            gid,
            mtime,
            xattrs,
        })
    }
}

/// Bytes that are not an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid file index")]
pub struct InvalidTree;

/// A sorted index of files.
#[derive(Clone, PartialEq, Eq)]
pub struct Tree {
    bytes: Vec<u8>,
    count: usize,
}

impl Tree {
    /// Takes the bytes of an index, as [`Tree::as_bytes`] gave them.
    ///
    /// # Errors
    /// When they are not one: every entry is looked at, so a damaged file is found here.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, InvalidTree> {
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
        let tree = Self { bytes, count };
        let entries_length = tree.bytes.len() - offsets_end;
        let mut previous: Option<(&[u8], usize)> = None;
        for position in 0..count {
            let offset = tree.offset(position);
            if offset >= entries_length {
                return Err(InvalidTree);
            }
            let entry = Entry::decode(&tree.bytes[offsets_end + offset..]).ok_or(InvalidTree)?;
            let in_order = previous.is_none_or(|(path, before)| {
                before < offset && compare_paths(path, entry.path) == Ordering::Less
            });
            if !in_order || !is_clean(entry.path) {
                return Err(InvalidTree);
            }
            previous = Some((entry.path, offset));
        }
        Ok(tree)
    }

    /// Returns the bytes to be stored.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns kiln's identity of a layer with this index.
    #[must_use]
    pub fn layer_id(&self) -> LayerId {
        LayerId(Blake3::of(self.entry_bytes()))
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
        Entry::decode(&self.entry_bytes()[self.offset(position)..])
            .expect("entries were checked when the tree was made")
    }

    /// Returns the entries in the order of a walk.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Entry<'_>> + DoubleEndedIterator {
        (0..self.count).map(|position| self.at(position))
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
            match is_below(self.path_at(middle)) {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        start..low
    }

    /// Returns the bytes of the entry at a position, and of nothing else.
    fn encoded(&self, position: usize) -> &[u8] {
        let entry = &self.entry_bytes()[self.offset(position)..];
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

    /// Returns a tree with the entries of both, and of two with one path the one of `other`.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        let is_shared = |position: &usize| self.position(other.path_at(*position)).is_ok();
        let shared = (0..other.count).filter(is_shared).count();
        let length = self.entry_bytes().len() + other.entry_bytes().len();
        let mut merged = TreeBuilder::with_room(self.count + other.count - shared, length);
        let mut own = 0;
        for position in 0..other.count {
            let path = other.path_at(position);
            while own < self.count && compare_paths(self.path_at(own), path).is_lt() {
                merged.copy(self, own);
                own += 1;
            }
            if own < self.count && self.path_at(own) == path {
                own += 1;
            }
            merged.copy(other, position);
        }
        for rest in own..self.count {
            merged.copy(self, rest);
        }
        merged.finish()
    }

    /// Returns the path at a position below [`Tree::len`].
    ///
    /// # Panics
    /// When there is none.
    pub(crate) fn path_at(&self, position: usize) -> &[u8] {
        Reader(&self.entry_bytes()[self.offset(position)..])
            .short_bytes()
            .expect("entries were checked when the tree was made")
    }

    fn offset(&self, position: usize) -> usize {
        let at = HEADER + position * 4;
        let bytes = self.bytes[at..at + 4]
            .try_into()
            .expect("a slice of four bytes");
        u32::from_le_bytes(bytes) as usize
    }

    fn entry_bytes(&self) -> &[u8] {
        &self.bytes[HEADER + self.count * 4..]
    }
}

impl Default for Tree {
    fn default() -> Self {
        TreeBuilder::new().finish()
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

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
            Reader(&entries[offset as usize..])
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
            let bytes = self.bytes;
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

fn encoded_length(bytes: &[u8]) -> usize {
    let entry = Entry::decode(bytes).expect("push wrote an entry");
    let end = entry.xattrs.0.as_ptr_range().end;
    // The extended attributes are the last field.
    end.addr() - bytes.as_ptr().addr()
}

fn put_short(out: &mut Vec<u8>, bytes: &[u8]) {
    // Paths and link targets end at PATH_MAX (4096), attribute names at 255.
    let length = u16::try_from(bytes.len()).expect("names and paths are below 64 KiB");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(bytes);
}

fn put_long(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("attribute values are at most 64 KiB");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(bytes);
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn device(&mut self) -> Option<Device> {
        Some(Device {
            major: self.u32()?,
            minor: self.u32()?,
        })
    }

    fn short_bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    fn long_bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        self.take(length as usize)
    }
}

#[cfg(test)]
mod tests;
