//! Layers on disk: whiteouts, opaque directories, and access that never leaves their root.
//!
//! Paths inside a layer come from archives and build contexts, so a component may turn out to be a
//! symbolic link. Everything here opens the containing directory without following any, then acts
//! on a single name in it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use kiln_files::{GuestPath, Links, open_scoped};
use kiln_oci::Timestamp;
use kiln_tree::{Entry, Xattrs};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, fchmod,
    fsetxattr, futimens, makedev, mknodat, openat, statat, unlinkat,
};
use rustix::io::Errno;

/// Marks a directory as opaque, under `userxattr`.
pub(crate) const OPAQUE: &str = "user.overlay.opaque";

/// Makes a whiteout called `name` in an open directory.
///
/// A character device 0:0 is no device: since Linux 5.8 every user may make one.
pub(crate) fn make_whiteout(parent: impl AsFd, name: impl rustix::path::Arg) -> io::Result<()> {
    let kind = FileType::CharacterDevice;
    Ok(mknodat(parent, name, kind, Mode::empty(), makedev(0, 0))?)
}

/// Marks an open directory as opaque. Where that is refused nothing stacks layers, and the index
/// knows.
pub(crate) fn make_opaque(directory: impl AsFd) -> io::Result<()> {
    as_far_as_allowed(fsetxattr(directory, OPAQUE, b"y", XattrFlags::empty()))
}

/// A directory whose inside is reached without following symbolic links.
#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
    directory: Arc<OwnedFd>,
    /// Directories opened last: files come a directory at a time, from a few threads.
    recent: [Mutex<Option<Recent>>; 16],
}

/// A path and the directory it leads to.
type Recent = (GuestPath, Arc<OwnedFd>);

impl Root {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Self {
            path: path.to_owned(),
            directory: Arc::new(directory),
            recent: Default::default(),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the directory that contains `path`, to act on its name there.
    pub(crate) fn parent(&self, path: &GuestPath) -> io::Result<Arc<OwnedFd>> {
        let parent = path.parent().unwrap_or(GuestPath::ROOT);
        if parent.is_root() {
            return Ok(Arc::clone(&self.directory));
        }
        let place = spread(parent.as_bytes()) % self.recent.len();
        let mut recent = self.recent[place]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((known, directory)) = &*recent
            && *known == parent
        {
            return Ok(Arc::clone(directory));
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let directory = Arc::new(self.open_inside(&parent, flags)?);
        *recent = Some((parent, Arc::clone(&directory)));
        Ok(directory)
    }

    /// Opens `path` with `flags`, following no symbolic link.
    pub(crate) fn open_inside(&self, path: &GuestPath, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match open_scoped(&self.directory, path.as_relative(), flags, Links::None) {
            // Sandboxes of before 2020 do not know openat2.
            Err(Errno::NOSYS | Errno::PERM) => self.open_by_steps(path, flags),
            other => Ok(other?),
        }
    }

    fn open_by_steps(&self, path: &GuestPath, flags: OFlags) -> io::Result<OwnedFd> {
        let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mut directory = Arc::clone(&self.directory);
        for ancestor in path.ancestors() {
            directory = Arc::new(openat(&directory, ancestor.name(), step, Mode::empty())?);
        }
        let name = if path.is_root() { b"." } else { path.name() };
        Ok(openat(&directory, name, flags, Mode::empty())?)
    }

    /// Deletes the file or directory at `path`, and says whether that was a directory.
    pub(crate) fn remove(&self, path: &GuestPath) -> io::Result<Removed> {
        let parent = self.parent(path)?;
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        match statat(&parent, path.name(), flags) {
            Err(Errno::NOENT) => Ok(Removed::Nothing),
            Err(error) => Err(error.into()),
            Ok(stat) if FileType::from_raw_mode(stat.st_mode).is_dir() => {
                // The parent was reached without links, and no other process works in here.
                kiln_files::remove_tree(&self.path.join(path.as_relative()))?;
                for recent in &self.recent {
                    *recent.lock().unwrap_or_else(PoisonError::into_inner) = None;
                }
                Ok(Removed::Directory)
            }
            Ok(_) => {
                unlinkat(&parent, path.name(), AtFlags::empty())?;
                Ok(Removed::Other)
            }
        }
    }

    /// Returns what is at `path`.
    pub(crate) fn stat(&self, path: &GuestPath) -> io::Result<Stat> {
        if path.is_root() {
            return Ok(rustix::fs::fstat(&self.directory)?);
        }
        let parent = self.parent(path)?;
        Ok(statat(parent, path.name(), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Opens the regular file at `path` for reading.
    pub(crate) fn read(&self, path: &GuestPath) -> io::Result<File> {
        Ok(self
            .open_inside(path, OFlags::RDONLY | OFlags::NOCTTY)?
            .into())
    }
}

/// The kind of file that was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Removed {
    Nothing,
    Directory,
    Other,
}

/// FNV-1a: spreads a handful of directory names over a handful of places.
fn spread(bytes: &[u8]) -> usize {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    usize::try_from(hash >> 48).expect("sixteen bits")
}

/// Gives up quietly on what this process may not store: the index holds it all the same.
///
/// An owner that the user namespace does not map is EINVAL, attributes and devices beyond its
/// rights are EPERM, attributes that the file system lacks are EOPNOTSUPP.
pub(crate) fn as_far_as_allowed(result: Result<(), Errno>) -> io::Result<()> {
    match result {
        Err(Errno::INVAL | Errno::PERM | Errno::OPNOTSUPP) => Ok(()),
        other => Ok(other?),
    }
}

/// Sets the owner of an open file.
pub(crate) fn set_owner(file: impl AsFd, uid: u32, gid: u32) -> io::Result<()> {
    as_far_as_allowed(rustix::fs::fchown(
        file,
        Some(Uid::from_raw(uid)),
        Some(Gid::from_raw(gid)),
    ))
}

/// Sets extended attributes of an open file.
pub(crate) fn set_xattrs(file: BorrowedFd<'_>, xattrs: Xattrs<'_>) -> io::Result<()> {
    for (name, value) in xattrs.iter() {
        as_far_as_allowed(fsetxattr(file, name, value, XattrFlags::empty()))?;
    }
    Ok(())
}

/// Gives a directory the metadata of an entry.
pub(crate) fn set_directory(path: &Path, entry: &Entry<'_>) -> io::Result<()> {
    let directory = File::open(path)?;
    set_owner(&directory, entry.uid, entry.gid)?;
    fchmod(&directory, Mode::from_raw_mode(entry.mode.into()))?;
    set_xattrs(directory.as_fd(), entry.xattrs)
}

/// Gives the root of a layer back the mode that lets every user in.
pub(crate) fn open_to_all(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::chmod(path, Mode::from_raw_mode(0o755))?)
}

/// Sets the time of last modification of an open file.
pub(crate) fn set_mtime(file: impl AsFd, mtime: Timestamp) -> io::Result<()> {
    Ok(futimens(file, &timestamps(mtime))?)
}

/// Returns `mtime` as the kernel takes it; the time of last access becomes the same.
pub(crate) fn timestamps(mtime: Timestamp) -> Timestamps {
    let time = Timespec {
        tv_sec: mtime.seconds,
        tv_nsec: mtime.nanoseconds.into(),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

/// Returns what [`mtime_of`] leaves out.
pub(crate) fn nanoseconds_of(stat: &Stat) -> i64 {
    i64::try_from(stat.st_mtime_nsec).unwrap_or(0)
}

/// Returns the time of last modification as indexes have it: in whole seconds.
pub(crate) fn mtime_of(stat: &Stat) -> Timestamp {
    Timestamp::from_seconds(stat.st_mtime)
}

pub(crate) fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn no_link_is_followed_where_paths_are_opened_in_steps() {
        let scratch = tempfile::tempdir().unwrap();
        fs::create_dir_all(scratch.path().join("real/deep")).unwrap();
        fs::write(scratch.path().join("real/deep/file"), "inside").unwrap();
        symlink("real", scratch.path().join("link")).unwrap();
        symlink("file", scratch.path().join("real/deep/last")).unwrap();
        let root = Root::open(scratch.path()).unwrap();
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let open = |path: &str| root.open_by_steps(&GuestPath::new(path), flags);
        let file = File::from(open("real/deep/file").unwrap());
        assert_eq!(io::read_to_string(file).unwrap(), "inside");
        open("real/deep").unwrap();
        open("").unwrap();
        for path in ["link/deep/file", "link/deep", "link", "real/deep/last"] {
            assert!(open(path).is_err(), "{path}");
        }
    }
}
