//! From a directory on the host to a [`Tree`]: the walk of a build context.
//!
//! One pass by directory descriptors in the order of the index, so the previous index is read in
//! step with it and a directory renamed meanwhile cannot lead the walk elsewhere. Only `getdents64`
//! and `statx` touch a file that has not changed. Files that did are read and hashed afterwards,
//! in parallel.
//!
//! Owners are not recorded: a context is delivered as if root owned it (spec/dockerfile.md
//! section 7.3). Sockets cannot be stored in an image and are left out.

mod content; // bytes and attributes

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};

use self::content::read_content;
use crate::stat_index::{Identity, StatIndexBuilder, merge};
use crate::tree::{Device, Entry, Kind, Tree, TreeBuilder, XattrsBuf};
use crate::{Blake3, GuestPath, StatIndex, Timestamp};

/// Decides which files of a directory belong to the context.
pub trait Filter {
    /// What the decision about a directory hands down to what is in it.
    type State;

    /// Returns the state at the root.
    fn root(&self) -> Self::State;

    /// Decides about `path`, a clean path relative to the root, in a directory with `state`.
    fn child(&self, state: &Self::State, path: &[u8], is_directory: bool) -> Visit<Self::State>;

    /// Says whose the files are.
    fn owners(&self) -> Owners {
        Owners::Root
    }
}

/// Whose the files of a context are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owners {
    /// Root's: who owns a checkout says nothing about the image.
    Root,
    /// Those that the disk says: the context was an archive that names them.
    Kept,
}

/// What to do with a file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit<S> {
    /// It belongs to the context; a directory is entered.
    Take(S),
    /// It is excluded, but something below may be included again: enter the directory, and take it
    /// if something in it is taken.
    Enter(S),
    /// It and everything below is excluded.
    Skip,
}

/// Takes everything.
#[derive(Clone, Copy, Debug)]
pub struct Everything;

impl Filter for Everything {
    type State = ();

    fn root(&self) {}

    fn child(&self, (): &(), _: &[u8], _: bool) -> Visit<()> {
        Visit::Take(())
    }
}

/// Why a context cannot be scanned.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}")]
pub struct ScanError {
    /// The file or directory on the host.
    pub path: PathBuf,
    /// What went wrong.
    pub source: io::Error,
}

/// What a scan found.
#[derive(Debug)]
pub struct Scan {
    /// The files of the wanted parts.
    pub tree: Tree,
    /// The index for the next scan.
    pub index: StatIndex,
    /// Whether [`Scan::index`] differs from the previous one, so that it is worth saving.
    pub changed: bool,
    /// How many files had to be read.
    pub files_read: usize,
    /// How many bytes they had.
    pub bytes_read: u64,
}

/// Scans the `wanted` parts of the directory `root`.
///
/// Each wanted path is taken with everything below it; symbolic links on the way are followed
/// inside the root and recorded too. A path that does not exist is not an error here.
///
/// # Errors
/// When a file or directory cannot be read.
pub fn scan<F: Filter>(
    root: &Path,
    wanted: &[GuestPath],
    filter: &F,
    previous: &StatIndex,
    now: Timestamp,
) -> Result<Scan, ScanError> {
    let fail = |source| ScanError {
        path: root.to_owned(),
        source,
    };
    let directory = rustix::fs::open(root, DIRECTORY, Mode::empty()).map_err(|e| fail(e.into()))?;
    let wanted = follow_links(&directory, wanted);
    let mut walk = Walk {
        root,
        filter,
        wanted: &wanted,
        previous,
        cursor: 0,
        found: Vec::new(),
        links: HashMap::new(),
        stale: Vec::new(),
        now,
    };
    walk.directory(&directory, &mut Vec::new(), &filter.root())?;
    let Walk {
        mut found, stale, ..
    } = walk;
    let files_read = stale.len();
    let contents = stale
        .par_iter()
        .map(|&position| {
            let path = &found[position].path;
            read_content(directory.as_fd(), path).map_err(|source| ScanError {
                path: host_path(root, path),
                source,
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let mut bytes_read = 0;
    for (position, content) in stale.into_iter().zip(contents) {
        let file = &mut found[position];
        bytes_read += content.size;
        file.xattrs = content.xattrs;
        if let FoundKind::File { size, hash } = &mut file.kind {
            (*size, *hash) = (content.size, content.hash);
        }
    }
    Ok(assemble(&found, previous, &wanted, files_read, bytes_read))
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW);

/// Resolves symbolic links among the components of the wanted paths, inside the root, and returns
/// the links themselves and where they lead. More than 40 links, as in the kernel, end the search.
fn follow_links(root: &OwnedFd, wanted: &[GuestPath]) -> Vec<GuestPath> {
    let mut result = Vec::new();
    for path in wanted {
        let mut rest: Vec<Vec<u8>> = path.components().rev().map(<[u8]>::to_vec).collect();
        let mut reached = GuestPath::ROOT;
        let mut links = 0;
        while let Some(component) = rest.pop() {
            let next = reached.join(&component);
            match rustix::fs::readlinkat(root, next.as_relative(), Vec::new()) {
                Ok(target) if links < 40 => {
                    links += 1;
                    let target = target.into_bytes();
                    if target.first() == Some(&b'/') {
                        reached = GuestPath::ROOT;
                    }
                    result.push(next);
                    let components = target.split(|&b| b == b'/').rev();
                    rest.extend(components.filter(|c| !c.is_empty()).map(<[u8]>::to_vec));
                }
                // Not a link, or nothing there: the path goes on literally.
                _ => reached = next,
            }
        }
        result.push(reached);
    }
    result.sort();
    result.dedup();
    result
}

/// A file met by the walk.
struct Found {
    path: Vec<u8>,
    kind: FoundKind,
    mode: u16,
    uid: u32,
    gid: u32,
    mtime: Timestamp,
    xattrs: XattrsBuf,
    identity: Identity,
}

enum FoundKind {
    File { size: u64, hash: Blake3 },
    HardLink { target: Vec<u8> },
    Directory,
    Symlink { target: Vec<u8> },
    CharDevice(Device),
    BlockDevice(Device),
    Fifo,
}

impl Found {
    fn entry(&self) -> Entry<'_> {
        let kind = match &self.kind {
            FoundKind::File { size, hash } => Kind::File {
                size: *size,
                hash: *hash,
            },
            FoundKind::HardLink { target } => Kind::HardLink { target },
            FoundKind::Directory => Kind::Directory { opaque: false },
            FoundKind::Symlink { target } => Kind::Symlink { target },
            FoundKind::CharDevice(device) => Kind::CharDevice(*device),
            FoundKind::BlockDevice(device) => Kind::BlockDevice(*device),
            FoundKind::Fifo => Kind::Fifo,
        };
        Entry {
            path: &self.path,
            kind,
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            mtime: self.mtime,
            xattrs: self.xattrs.as_xattrs(),
        }
    }
}

struct Walk<'a, F> {
    root: &'a Path,
    filter: &'a F,
    wanted: &'a [GuestPath],
    previous: &'a StatIndex,
    /// Position in the previous index: it is read in step with the walk.
    cursor: usize,
    found: Vec<Found>,
    /// First path of each file that has several.
    links: HashMap<(u64, u64), Vec<u8>>,
    /// Positions in `found` of what must be read.
    stale: Vec<usize>,
    now: Timestamp,
}

/// How a path relates to the wanted ones.
enum Relevance {
    /// It is one, or lies below one.
    Wanted,
    /// It leads to one.
    OnTheWay,
    None,
}

impl<F: Filter> Walk<'_, F> {
    fn directory(
        &mut self,
        directory: &OwnedFd,
        path: &mut Vec<u8>,
        state: &F::State,
    ) -> Result<(), ScanError> {
        for name in self.names(directory, path)? {
            let length = path.len();
            if length > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(&name);
            let result = self.child(directory, &name, path, state);
            path.truncate(length);
            result?;
        }
        Ok(())
    }

    /// Returns the names in a directory, sorted; on the way to a wanted path, only the next step.
    fn names(&self, directory: &OwnedFd, path: &[u8]) -> Result<Vec<Vec<u8>>, ScanError> {
        let fail = |source: io::Error| ScanError {
            path: host_path(self.root, path),
            source,
        };
        if matches!(self.relevance(path), Relevance::OnTheWay) {
            let start = if path.is_empty() { 0 } else { path.len() + 1 };
            let mut names: Vec<Vec<u8>> = self
                .wanted
                .iter()
                .filter(|wanted| is_below(wanted.as_bytes(), path))
                .filter_map(|wanted| wanted.as_bytes()[start..].split(|&b| b == b'/').next())
                .map(<[u8]>::to_vec)
                .collect();
            names.sort_unstable();
            names.dedup();
            return Ok(names);
        }
        let mut names = Vec::new();
        let entries = Dir::read_from(directory).map_err(|e| fail(e.into()))?;
        for entry in entries {
            let entry = entry.map_err(|e| fail(e.into()))?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name.to_vec());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn child(
        &mut self,
        parent: &OwnedFd,
        name: &[u8],
        path: &mut Vec<u8>,
        state: &F::State,
    ) -> Result<(), ScanError> {
        let fail = |path: &[u8], source: rustix::io::Errno| ScanError {
            path: host_path(self.root, path),
            source: source.into(),
        };
        let stat = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // Deleted since the directory was read, or a wanted path that does not exist.
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(()),
            Err(error) => return Err(fail(path, error)),
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        let is_directory = kind == FileType::Directory;
        let (inner, only_with_content) = match self.filter.child(state, path, is_directory) {
            Visit::Take(inner) => (inner, false),
            Visit::Enter(inner) if is_directory => (inner, true),
            Visit::Enter(_) | Visit::Skip => return Ok(()),
        };
        let position = self.found.len();
        let stale = self.stale.len();
        let taken = self
            .take(parent, name, path, &stat, kind)
            .map_err(|source| ScanError {
                path: host_path(self.root, path),
                source,
            })?;
        if !is_directory || !taken {
            return Ok(());
        }
        let directory = match rustix::fs::openat(parent, name, DIRECTORY, Mode::empty()) {
            Ok(directory) => directory,
            Err(error) => return Err(fail(path, error)),
        };
        self.directory(&directory, path, &inner)?;
        if only_with_content && self.found.len() == position + 1 {
            self.found.truncate(position);
            self.stale.truncate(stale);
        }
        Ok(())
    }

    /// Records one file; says no if it is of a kind that cannot be stored.
    fn take(
        &mut self,
        parent: &OwnedFd,
        name: &[u8],
        path: &[u8],
        stat: &Stat,
        kind: FileType,
    ) -> io::Result<bool> {
        let mtime = Timestamp {
            seconds: stat.st_mtime,
            nanoseconds: nanoseconds(stat.st_mtime_nsec),
        };
        let identity = Identity {
            device: stat.st_dev,
            inode: stat.st_ino,
            ctime: Timestamp {
                seconds: stat.st_ctime,
                nanoseconds: nanoseconds(stat.st_ctime_nsec),
            },
            read_at: self.now.seconds,
        };
        let (uid, gid) = match self.filter.owners() {
            Owners::Root => (0, 0),
            Owners::Kept => (stat.st_uid, stat.st_gid),
        };
        let mut found = Found {
            path: path.to_vec(),
            kind: FoundKind::Fifo,
            mode: (stat.st_mode & 0o7777) as u16,
            uid,
            gid,
            mtime,
            xattrs: XattrsBuf::default(),
            identity,
        };
        match kind {
            FileType::RegularFile => {
                let key = (stat.st_dev, stat.st_ino);
                if stat.st_nlink > 1
                    && let Some(first) = self.links.get(&key)
                {
                    found.kind = FoundKind::HardLink {
                        target: first.clone(),
                    };
                } else {
                    if stat.st_nlink > 1 {
                        self.links.insert(key, path.to_vec());
                    }
                    let size = u64::try_from(stat.st_size).unwrap_or(0);
                    self.recall(&mut found, Some(size));
                }
            }
            FileType::Directory => {
                found.kind = FoundKind::Directory;
                self.recall(&mut found, None);
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(parent, name, Vec::new())?;
                found.kind = FoundKind::Symlink {
                    target: target.into_bytes(),
                };
            }
            FileType::CharacterDevice => found.kind = FoundKind::CharDevice(device(stat)),
            FileType::BlockDevice => found.kind = FoundKind::BlockDevice(device(stat)),
            FileType::Fifo => {}
            FileType::Socket | FileType::Unknown => return Ok(false),
        }
        self.found.push(found);
        Ok(true)
    }

    /// Takes content and attributes from the previous index, or notes that they must be read.
    fn recall(&mut self, found: &mut Found, size: Option<u64>) {
        if let Some(size) = size {
            found.kind = FoundKind::File {
                size,
                hash: Blake3::from_bytes([0; 32]),
            };
        }
        let tree = self.previous.tree();
        while self.cursor < tree.len()
            && crate::compare_paths(tree.at(self.cursor).path, &found.path).is_lt()
        {
            self.cursor += 1;
        }
        if self.cursor < tree.len() {
            let entry = tree.at(self.cursor);
            let identity = self.previous.identity(self.cursor);
            let same_stat = entry.path == found.path.as_slice()
                && identity.device == found.identity.device
                && identity.inode == found.identity.inode
                && identity.ctime == found.identity.ctime
                && entry.mtime == found.mtime
                && entry.mode == found.mode
                && identity.is_settled(entry.mtime);
            let recalled = match (entry.kind, size) {
                (Kind::File { size: old, hash }, Some(size)) if old == size => {
                    Some(FoundKind::File { size, hash })
                }
                (Kind::Directory { .. }, None) => Some(FoundKind::Directory),
                _ => None,
            };
            if same_stat && let Some(kind) = recalled {
                found.kind = kind;
                found.identity = identity;
                found.xattrs = XattrsBuf::from_xattrs(entry.xattrs);
                return;
            }
        }
        self.stale.push(self.found.len());
    }

    fn relevance(&self, path: &[u8]) -> Relevance {
        let mut relevance = Relevance::None;
        for wanted in self.wanted {
            let wanted = wanted.as_bytes();
            if wanted == path || is_below(path, wanted) {
                return Relevance::Wanted;
            }
            if is_below(wanted, path) {
                relevance = Relevance::OnTheWay;
            }
        }
        relevance
    }
}

fn is_below(path: &[u8], directory: &[u8]) -> bool {
    match directory {
        b"" => !path.is_empty(),
        _ => path.starts_with(directory) && path.get(directory.len()) == Some(&b'/'),
    }
}

fn assemble(
    found: &[Found],
    previous: &StatIndex,
    wanted: &[GuestPath],
    files_read: usize,
    bytes_read: u64,
) -> Scan {
    let mut tree = TreeBuilder::new();
    let mut index = StatIndexBuilder::default();
    for file in found {
        let entry = file.entry();
        tree.push(&entry);
        index.push(&entry, &file.identity);
    }
    let tree = tree.finish();
    let index = merge(previous, &index.finish(), wanted);
    let changed = files_read > 0 || index.tree() != previous.tree();
    Scan {
        tree,
        index,
        changed,
        files_read,
        bytes_read,
    }
}

fn device(stat: &Stat) -> Device {
    Device {
        major: rustix::fs::major(stat.st_rdev),
        minor: rustix::fs::minor(stat.st_rdev),
    }
}

fn nanoseconds(value: impl TryInto<u32>) -> u32 {
    value.try_into().unwrap_or(0)
}

fn host_path(root: &Path, path: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    root.join(std::ffi::OsStr::from_bytes(path))
}

#[cfg(test)]
mod tests;
