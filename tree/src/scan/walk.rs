//! The walk itself: names, `stat`, and the previous index beside it.
//!
//! Directories next to each other are walked on several threads where there is enough to do; what
//! they found is put together in order.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rayon::prelude::*;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat};

use super::filter::{Filter, Owners, ScanError, Visit, host_path};
use super::found::{FoundFile, is_known};
use super::met::{Met, MetList, MetPart, MetRecords};
use crate::StatIndex;
use kiln_files::GuestPath;
use kiln_oci::Timestamp;

pub(super) const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW);

/// Files in the previous index below which starting threads costs more than they save.
const WORTH_THREADS: usize = 1000;

/// Directories next to each other that are walked before what they hold is put together.
const AT_ONCE: usize = 1024;

/// Bytes of directory entries that are read at once.
const ENTRIES: usize = 16 << 10;

pub(super) struct Walk<'a, F: Filter> {
    pub(super) root: &'a Path,
    pub(super) filter: &'a F,
    pub(super) wanted: &'a [GuestPath],
    pub(super) previous: &'a StatIndex,
    pub(super) now: Timestamp,
    pub(super) records: MetRecords,
}

/// The entries of a directory, in order.
struct Children<S> {
    met: MetPart,
    /// Those of them that are to be entered.
    directories: Vec<Subdirectory<S>>,
}

/// A directory to be entered.
struct Subdirectory<S> {
    /// Its number among those around it.
    number: usize,
    path: Vec<u8>,
    state: S,
    /// It is excluded, but something in it may be included.
    only_with_content: bool,
}

/// The relation of a path to the wanted ones.
enum Relevance {
    /// It is one, or lies below one.
    Wanted,
    /// It leads to one.
    OnTheWay,
    None,
}

impl<F: Filter> Walk<'_, F> {
    /// Returns everything met, in the order of the index.
    pub(super) fn run(self, root: &OwnedFd) -> Result<MetList, ScanError> {
        let mut met = MetPart::with_room(self.previous.tree().len());
        self.directory(root, &[], &self.filter.root(), &mut met)?;
        Ok(met.finish(self.records))
    }

    /// Adds what is in a directory.
    fn directory(
        &self,
        directory: &OwnedFd,
        path: &[u8],
        state: &F::State,
        met: &mut MetPart,
    ) -> Result<(), ScanError> {
        let Children {
            met: children,
            directories,
        } = self.children(directory, path, state)?;
        let known = self.previous.tree().len();
        let is_worth_threads = known == 0 || known >= WORTH_THREADS;
        let mut added = 0;
        let mut up_to = |count: usize, met: &mut MetPart| {
            met.append(&children, added..count, &self.records);
            added = count;
        };
        if directories.len() > 1 && is_worth_threads {
            kiln_threads::prepare_pool();
            for some in directories.chunks(AT_ONCE) {
                let parts: Vec<MetPart> = some
                    .par_iter()
                    .map(|inner| {
                        let mut part = MetPart::default();
                        self.enter(directory, inner, &mut part)?;
                        part.send(&self.records);
                        Ok(part)
                    })
                    .collect::<Result<_, ScanError>>()?;
                for (inner, part) in some.iter().zip(parts) {
                    up_to(inner.number + 1, met);
                    self.add_content(inner, met, |met| {
                        met.append(&part, 0..part.len(), &self.records);
                        Ok(())
                    })?;
                }
            }
        } else {
            for inner in &directories {
                up_to(inner.number + 1, met);
                self.add_content(inner, met, |met| self.enter(directory, inner, met))?;
            }
        }
        up_to(children.len(), met);
        Ok(())
    }

    /// Adds what is in a directory that was the last to be met. One that is excluded and has nothing
    /// in it is forgotten.
    fn add_content(
        &self,
        inner: &Subdirectory<F::State>,
        met: &mut MetPart,
        add: impl FnOnce(&mut MetPart) -> Result<(), ScanError>,
    ) -> Result<(), ScanError> {
        let before = met.len();
        add(met)?;
        if inner.only_with_content && met.len() == before {
            met.truncate(before - 1);
        }
        Ok(())
    }

    /// Opens a directory and adds what is in it.
    fn enter(
        &self,
        parent: &OwnedFd,
        inner: &Subdirectory<F::State>,
        met: &mut MetPart,
    ) -> Result<(), ScanError> {
        let name = inner.path.rsplit(|&b| b == b'/').next().unwrap_or(&[]);
        // Opened one at a time: a directory may have more of them than a process may have open.
        let directory =
            rustix::fs::openat(parent, name, DIRECTORY, Mode::empty()).map_err(|error| {
                ScanError {
                    path: host_path(self.root, &inner.path),
                    source: error.into(),
                }
            })?;
        self.directory(&directory, &inner.path, &inner.state, met)
    }

    /// Looks at everything in a directory.
    fn children(
        &self,
        directory: &OwnedFd,
        path: &[u8],
        state: &F::State,
    ) -> Result<Children<F::State>, ScanError> {
        let names = self.names(directory, path)?;
        let mut children = Children {
            met: MetPart::with_room(names.len()),
            directories: Vec::new(),
        };
        let mut cursor = self.previous.tree().below(path).start;
        let mut child_path = path.to_vec();
        if !path.is_empty() {
            child_path.push(b'/');
        }
        let prefix = child_path.len();
        for name in names.iter() {
            child_path.truncate(prefix);
            child_path.extend_from_slice(name);
            self.look_at(
                directory,
                name,
                &child_path,
                state,
                &mut cursor,
                &mut children,
            )
            .map_err(|source| ScanError {
                path: host_path(self.root, &child_path),
                source,
            })?;
        }
        children.met.send(&self.records);
        Ok(children)
    }

    /// Looks at one name, and adds it unless it is excluded, gone, or nothing that an image can hold.
    fn look_at(
        &self,
        parent: &OwnedFd,
        name: &[u8],
        path: &[u8],
        state: &F::State,
        cursor: &mut usize,
        children: &mut Children<F::State>,
    ) -> io::Result<()> {
        let stat = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // Deleted since the directory was read, or a wanted path that does not exist.
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let (inner, only_with_content) = match self.filter.child(state, path, is_directory) {
            Visit::Take(inner) => (inner, false),
            Visit::Enter(inner) if is_directory => (inner, true),
            Visit::Enter(_) | Visit::Skip => return Ok(()),
        };
        let Some(itself) = self.meet(parent, name, path, &stat, cursor)? else {
            return Ok(());
        };
        let number = children.met.len();
        children.met.push(&itself, &self.records);
        if is_directory {
            children.directories.push(Subdirectory {
                number,
                path: path.to_vec(),
                state: inner,
                only_with_content,
            });
        }
        Ok(())
    }

    /// Finds a file in the previous index, or describes it as it is now.
    fn meet(
        &self,
        parent: &OwnedFd,
        name: &[u8],
        path: &[u8],
        stat: &Stat,
        cursor: &mut usize,
    ) -> io::Result<Option<Met>> {
        let owner = match self.filter.owners() {
            Owners::Root => (0, 0),
            Owners::Kept => (stat.st_uid, stat.st_gid),
        };
        let tree = self.previous.tree();
        while *cursor < tree.len() && kiln_files::compare_paths(tree.path_at(*cursor), path).is_lt()
        {
            *cursor += 1;
        }
        let position = *cursor;
        if position < tree.len() && tree.path_at(position) == path {
            *cursor = if tree.at(position).is_directory() {
                // What is below it is for those who enter it.
                tree.below(path).end
            } else {
                position + 1
            };
            if is_known(self.previous, position, stat, owner, self.now) {
                return Ok(Some(Met::Known(position)));
            }
        }
        let target = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => rustix::fs::readlinkat(parent, name, Vec::new())?.into_bytes(),
            _ => Vec::new(),
        };
        let found = FoundFile::new(path, stat, owner, self.now, target);
        Ok(found.map(|found| Met::New(Box::new(found))))
    }

    /// Returns the names in a directory, sorted; on the way to a wanted path, only the next step.
    fn names(&self, directory: &OwnedFd, path: &[u8]) -> Result<DirectoryNames, ScanError> {
        if matches!(self.relevance(path), Relevance::OnTheWay) {
            let start = if path.is_empty() { 0 } else { path.len() + 1 };
            let mut names = DirectoryNames::default();
            self.wanted
                .iter()
                .filter(|wanted| is_below(wanted.as_bytes(), path))
                .filter_map(|wanted| wanted.as_bytes()[start..].split(|&b| b == b'/').next())
                .for_each(|name| names.push(name));
            names.sort();
            return Ok(names);
        }
        DirectoryNames::read(directory).map_err(|source| ScanError {
            path: host_path(self.root, path),
            source,
        })
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

/// Names in a directory, in one piece of memory.
#[derive(Default)]
struct DirectoryNames {
    bytes: Vec<u8>,
    /// Start and end of each.
    ranges: Vec<(u32, u32)>,
}

impl DirectoryNames {
    fn read(directory: &OwnedFd) -> io::Result<Self> {
        let mut names = Self::default();
        let mut buffer = [MaybeUninit::uninit(); ENTRIES];
        let mut entries = RawDir::new(directory.as_fd(), &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn push(&mut self, name: &[u8]) {
        let position = |length: usize| {
            u32::try_from(length).expect("the names in one directory are below 4 GiB")
        };
        let start = position(self.bytes.len());
        self.bytes.extend_from_slice(name);
        self.ranges.push((start, position(self.bytes.len())));
    }

    fn sort(&mut self) {
        let name = |&(start, end): &(u32, u32)| &self.bytes[start as usize..end as usize];
        self.ranges.sort_unstable_by(|a, b| name(a).cmp(name(b)));
        self.ranges.dedup_by(|a, b| name(a) == name(b));
    }

    fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.ranges
            .iter()
            .map(|&(start, end)| &self.bytes[start as usize..end as usize])
    }

    fn len(&self) -> usize {
        self.ranges.len()
    }
}
