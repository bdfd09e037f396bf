//! The stat index: metadata of a build context at the last build, so that unchanged files are not
//! read again.
//!
//! For every file of the last scan it keeps the [`Entry`] with the content's BLAKE3, and what
//! `stat` said: device, inode, size, mode, modification and change time. A file for which `stat`
//! says the same now has the same content, with one exception that git calls *racy*: a file that
//! was changed within the clock's resolution of being read. So an entry is trusted only if its
//! times lie [`RACY_WINDOW`] before the scan that read it; a younger one is read once more, and
//! trusted from then on.
//!
//! The change time is what makes this safe: programs can set the modification time back, but not
//! the change time.
//!
//! The index may be deleted at any time; it costs only the reading of every file.

use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::tree::{Entry, Tree, TreeBuilder};
use kiln_files::{FileBytes, GrowingBytes, GuestPath, compare_paths};
use kiln_oci::Timestamp;

const MAGIC: &[u8; 10] = b"kilnstat1\0";
/// Files younger than this when they were read are read again.
///
/// Kernel clocks tick in 1 to 10 ms, network and FAT file systems keep times to 1 or 2 seconds.
const RACY_WINDOW: Duration = Duration::from_secs(2);

/// Members of `stat` that a file's [`Entry`] does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileIdentity {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) ctime: Timestamp,
    /// When the scan began that read the content.
    pub(crate) read_at: i64,
}

/// The remembered state of a context.
#[derive(Clone, Debug, Default)]
pub struct StatIndex {
    tree: Arc<Tree>,
    identities: FileBytes,
}

impl StatIndex {
    /// Writes the index, for [`StatIndex::read`].
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(MAGIC)?;
        to.write_all(&(self.identities.len() as u64).to_le_bytes())?;
        to.write_all(&self.identities)?;
        self.tree.write(to)
    }

    pub(crate) fn tree(&self) -> &Tree {
        &self.tree
    }

    pub(crate) fn shared_tree(&self) -> Arc<Tree> {
        Arc::clone(&self.tree)
    }

    fn record(&self, position: usize) -> &[u8] {
        &self.identities[position * FileIdentity::LENGTH..(position + 1) * FileIdentity::LENGTH]
    }

    pub(crate) fn identity(&self, position: usize) -> FileIdentity {
        FileIdentity::decode(self.record(position))
    }

    /// Reads an index; none if it is not one.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(file: File) -> io::Result<Option<Self>> {
        const HEADER: usize = MAGIC.len() + 8;
        let bytes = FileBytes::of_file(file)?;
        let length = bytes
            .strip_prefix(MAGIC)
            .and_then(|rest| rest.first_chunk::<8>())
            .and_then(|length| usize::try_from(u64::from_le_bytes(*length)).ok());
        let Some(end) = length
            .and_then(|length| HEADER.checked_add(length))
            .filter(|end| *end <= bytes.len())
        else {
            return Ok(None);
        };
        let identities = bytes.part(HEADER..end);
        let tree = Tree::from_bytes(bytes.part(end..bytes.len())).ok();
        Ok(tree
            .filter(|tree| identities.len() == tree.len() * FileIdentity::LENGTH)
            .map(|tree| Self {
                tree: Arc::new(tree),
                identities,
            }))
    }
}

impl FileIdentity {
    /// Bytes of an identity as it is stored.
    pub(crate) const LENGTH: usize = 36;

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.device.to_le_bytes());
        out.extend_from_slice(&self.inode.to_le_bytes());
        out.extend_from_slice(&self.ctime.seconds.to_le_bytes());
        out.extend_from_slice(&self.ctime.nanoseconds.to_le_bytes());
        out.extend_from_slice(&self.read_at.to_le_bytes());
    }

    /// Takes an identity from the start of some bytes.
    ///
    /// # Panics
    /// When there are fewer than [`FileIdentity::LENGTH`].
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        let number =
            |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        Self {
            device: number(0),
            inode: number(8),
            ctime: Timestamp {
                seconds: number(16).cast_signed(),
                nanoseconds: u32::from_le_bytes(bytes[24..28].try_into().expect("four bytes")),
            },
            read_at: number(28).cast_signed(),
        }
    }

    /// Says whether both are of one file that did not change in between.
    pub(crate) fn is_of_same_file(&self, other: &Self) -> bool {
        (self.device, self.inode, self.ctime) == (other.device, other.inode, other.ctime)
    }

    /// Says whether content read under this identity can be relied on, given the file's
    /// modification time.
    pub(crate) fn is_settled(&self, mtime: Timestamp) -> bool {
        let window = i64::try_from(RACY_WINDOW.as_secs()).expect("a few seconds");
        self.ctime.seconds.max(mtime.seconds) < self.read_at.saturating_sub(window)
    }
}

/// Collects what a scan finds, in the order of a walk.
#[derive(Debug, Default)]
pub(crate) struct StatIndexBuilder {
    tree: TreeBuilder,
    identities: GrowingBytes,
}

impl StatIndexBuilder {
    pub(crate) fn push(&mut self, entry: &Entry<'_>, identity: &FileIdentity) {
        self.tree.push(entry);
        self.identities.add(|out| identity.encode(out));
    }

    /// Adds what an earlier index has at a position, as it is.
    pub(crate) fn copy(&mut self, index: &StatIndex, position: usize) {
        self.tree.copy(&index.tree, position);
        let record = index.record(position);
        self.identities.add(|out| out.extend_from_slice(record));
    }

    pub(crate) fn finish(self) -> StatIndex {
        let tree = self.tree.finish();
        assert_eq!(
            tree.len() * FileIdentity::LENGTH,
            self.identities.len(),
            "a scan meets every path once, in order"
        );
        StatIndex {
            tree: Arc::new(tree),
            identities: self.identities.finish(),
        }
    }
}

/// Merges the entries of `old` that lie outside the `scanned` prefixes into `new`, so that builds
/// which copy different parts of one context do not forget each other's.
pub(crate) fn merge(old: &StatIndex, new: StatIndex, scanned: &[GuestPath]) -> StatIndex {
    let scanned = covered(old.tree(), scanned);
    if scanned.iter().map(Range::len).sum::<usize>() == old.tree.len() {
        return new;
    }
    let mut scanned = scanned.into_iter().peekable();
    let mut merged = StatIndexBuilder::default();
    let mut later = (0..new.tree.len()).peekable();
    for position in 0..old.tree.len() {
        let path = old.tree.path_at(position);
        while let Some(next) =
            later.next_if(|&next| compare_paths(new.tree.path_at(next), path).is_lt())
        {
            merged.copy(&new, next);
        }
        let is_replaced = later
            .peek()
            .is_some_and(|&next| new.tree.path_at(next) == path);
        while scanned.next_if(|range| range.end <= position).is_some() {}
        let is_scanned = scanned
            .peek()
            .is_some_and(|range| range.contains(&position));
        if !is_replaced && !is_scanned {
            merged.copy(old, position);
        }
    }
    for next in later {
        merged.copy(&new, next);
    }
    merged.finish()
}

/// Returns the positions in a tree of what lies at or below one of `paths`, which are in order.
pub(crate) fn covered(tree: &Tree, paths: &[GuestPath]) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for path in paths {
        let below = tree.below(path.as_bytes());
        let start = match tree.position(path.as_bytes()) {
            Ok(position) => position,
            Err(_) => below.start,
        };
        // What lies below an earlier path is covered.
        if ranges.last().is_none_or(|last| last.end <= start) && start < below.end {
            ranges.push(start..below.end);
        }
    }
    ranges
}

#[cfg(test)]
mod tests;
