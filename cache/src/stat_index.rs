//! What a build context looked like last time, so that unchanged files are not read again.
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

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::tree::{Entry, Tree, TreeBuilder};
use crate::{Blake3, GuestPath, Store, Timestamp, compare_paths};

const MAGIC: &[u8; 10] = b"kilnstat1\0";
const RECORD: usize = 36;

/// Files younger than this when they were read are read again.
///
/// Kernel clocks tick in 1 to 10 ms, network and FAT file systems keep times to 1 or 2 seconds.
const RACY_WINDOW: Duration = Duration::from_secs(2);

/// What `stat` says of a file beyond its [`Entry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) ctime: Timestamp,
    /// When the scan began that read the content.
    pub(crate) read_at: i64,
}

/// The remembered state of a context.
#[derive(Clone, Debug, Default)]
pub struct StatIndex {
    tree: Tree,
    identities: Vec<u8>,
}

impl StatIndex {
    /// Reads the index of the context at `context`; an empty one if there is none to be had.
    #[must_use]
    pub fn load(store: &Store, context: &Path) -> Self {
        fs::read(path(store, context))
            .ok()
            .and_then(Self::from_bytes)
            .unwrap_or_default()
    }

    /// Writes the index of the context at `context`.
    ///
    /// # Errors
    /// When it cannot be written. The build does not depend on it.
    pub fn save(&self, store: &Store, context: &Path) -> io::Result<()> {
        let path = path(store, context);
        let temporary = store.work_file()?;
        let mut bytes = Vec::with_capacity(MAGIC.len() + 8 + self.identities.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&(self.identities.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&self.identities);
        bytes.extend_from_slice(self.tree.as_bytes());
        fs::write(&temporary, bytes)?;
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::rename(&temporary, &path)
    }

    pub(crate) fn tree(&self) -> &Tree {
        &self.tree
    }

    pub(crate) fn identity(&self, position: usize) -> Identity {
        let bytes = &self.identities[position * RECORD..(position + 1) * RECORD];
        let number =
            |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        Identity {
            device: number(0),
            inode: number(8),
            ctime: Timestamp {
                seconds: number(16).cast_signed(),
                nanoseconds: u32::from_le_bytes(bytes[24..28].try_into().expect("four bytes")),
            },
            read_at: number(28).cast_signed(),
        }
    }

    fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (length, rest) = rest.split_first_chunk::<8>()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let (identities, tree) = rest.split_at_checked(length)?;
        let identities = identities.to_vec();
        let tree = Tree::from_bytes(tree.to_vec()).ok()?;
        (identities.len() == tree.len() * RECORD).then_some(Self { tree, identities })
    }
}

impl Identity {
    /// Says whether content read under this identity can be relied on, given the file's
    /// modification time.
    pub(crate) fn is_settled(&self, mtime: Timestamp) -> bool {
        let window = i64::try_from(RACY_WINDOW.as_secs()).expect("a few seconds");
        self.ctime.seconds.max(mtime.seconds) < self.read_at - window
    }
}

/// Collects what a scan finds, in the order of a walk.
#[derive(Debug, Default)]
pub(crate) struct StatIndexBuilder {
    tree: TreeBuilder,
    identities: Vec<u8>,
}

impl StatIndexBuilder {
    pub(crate) fn push(&mut self, entry: &Entry<'_>, identity: &Identity) {
        self.tree.push(entry);
        self.identities
            .extend_from_slice(&identity.device.to_le_bytes());
        self.identities
            .extend_from_slice(&identity.inode.to_le_bytes());
        self.identities
            .extend_from_slice(&identity.ctime.seconds.to_le_bytes());
        self.identities
            .extend_from_slice(&identity.ctime.nanoseconds.to_le_bytes());
        self.identities
            .extend_from_slice(&identity.read_at.to_le_bytes());
    }

    pub(crate) fn finish(self) -> StatIndex {
        let tree = self.tree.finish();
        assert_eq!(
            tree.len() * RECORD,
            self.identities.len(),
            "a scan meets every path once, in order"
        );
        StatIndex {
            tree,
            identities: self.identities,
        }
    }
}

/// Merges the entries of `old` that lie outside the `scanned` prefixes into `new`, so that builds
/// which copy different parts of one context do not forget each other's.
pub(crate) fn merge(old: &StatIndex, new: &StatIndex, scanned: &[GuestPath]) -> StatIndex {
    let is_scanned = |path: &[u8]| {
        scanned.iter().any(|prefix| {
            let prefix = prefix.as_bytes();
            prefix.is_empty()
                || path == prefix
                || (path.starts_with(prefix) && path.get(prefix.len()) == Some(&b'/'))
        })
    };
    let mut merged = StatIndexBuilder::default();
    let mut later = (0..new.tree.len()).peekable();
    for position in 0..old.tree.len() {
        let entry = old.tree.at(position);
        while let Some(next) =
            later.next_if(|&next| compare_paths(new.tree.at(next).path, entry.path).is_lt())
        {
            merged.push(&new.tree.at(next), &new.identity(next));
        }
        let is_replaced = later
            .peek()
            .is_some_and(|&next| new.tree.at(next).path == entry.path);
        if !is_replaced && !is_scanned(entry.path) {
            merged.push(&entry, &old.identity(position));
        }
    }
    for next in later {
        merged.push(&new.tree.at(next), &new.identity(next));
    }
    merged.finish()
}

fn path(store: &Store, context: &Path) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    let name = Blake3::of(context.as_os_str().as_bytes()).hex();
    store.path(format!("contexts/{}", &name[..32]))
}
