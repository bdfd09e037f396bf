//! Mount points that an image lacks and that must not stay
//! (docs/spec/dockerfile.md 6, RUN --mount).
//!
//! Most are there already: [`super::context`] provides them below the image's layers. But a layer
//! may hide what is below it, by a whiteout, an opaque directory or a symbolic link, and a plain
//! directory has nothing below it; then they are made in the root itself before the run, and
//! removed after it if they are still empty. Each is remembered by its directory, which is kept
//! open, and its inode: if the process moved the directory the mount point is found in its new
//! place, and if it made something else of the same name that is left alone.
//!
//! Mount points inside other mounts are made by the new process, which is the first to see those.
//!
//! Directories that a job wants are made the same way, and stay.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use kiln_files::{GuestPath, Links, open_scoped};
use kiln_snapshotter::overlay::{self, OverlaySpec};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;

use super::inside::resolve_in;
use crate::sys::PlaceKind;

/// Links followed before giving up. Linux's own limit (path_resolution(7)).
const MAXIMUM_LINKS: u32 = 40;

/// How a directory is opened that names are looked up in.
const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A root, and the mount points made in it.
#[derive(Debug)]
pub(crate) struct Stubs {
    root: OwnedFd,
    created: Vec<Created>,
    image: Option<ImageLayers>,
    /// Every directory that a mount point may have needed, the outermost first.
    directories: Vec<GuestPath>,
    /// Where something will be mounted.
    mounted: Vec<GuestPath>,
    /// Directories that stay, even if they are empty.
    kept: Vec<GuestPath>,
}

/// Something made in the root.
#[derive(Debug)]
struct Created {
    parent: OwnedFd,
    name: Vec<u8>,
    inode: (u64, u64),
}

/// What a root is made of, without the layer of mount points.
#[derive(Debug)]
pub(super) struct ImageLayers {
    pub(super) lowers: Vec<PathBuf>,
    pub(super) upper: PathBuf,
}

impl Stubs {
    pub(super) fn new(root: OwnedFd, image: Option<ImageLayers>) -> Self {
        Self {
            root,
            created: Vec::new(),
            image,
            directories: Vec::new(),
            mounted: Vec::new(),
            kept: Vec::new(),
        }
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Opens a file of the root.
    pub(super) fn look(&self, path: &GuestPath) -> Result<OwnedFd, Errno> {
        let file = resolve_in(&self.root, path)?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        // What was found may be a pipe or a device: only regular files are opened.
        match FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) {
            FileType::RegularFile => {
                let name = format!("/proc/self/fd/{}", file.as_raw_fd());
                rustix::fs::open(name, flags, Mode::empty())
            }
            _ => Err(Errno::INVAL),
        }
    }

    /// Notes that something will be mounted at a path, which exists or belongs to the result.
    pub(super) fn is_mounted(&mut self, path: &GuestPath) {
        self.mounted.push(path.clone());
    }

    /// Makes a mount point where there is none, and notes that something will be mounted there.
    /// Returns where it is, without symbolic links if there was none.
    pub(super) fn provide(
        &mut self,
        path: &GuestPath,
        leaf: PlaceKind,
    ) -> Result<GuestPath, Errno> {
        let mut provided = path.clone();
        if !self.is_below_a_mount(path)
            && let Err(errno) = resolve_in(&self.root, path)
        {
            provided = match errno {
                Errno::NOENT => self.create(path, leaf)?,
                other => return Err(other),
            };
        }
        self.mounted.push(provided.clone());
        for directory in path.ancestors() {
            if !self.directories.contains(&directory) {
                self.directories.push(directory);
            }
        }
        Ok(provided)
    }

    /// Makes a directory that belongs to the result, unless it exists or lies in a mount.
    pub(super) fn keep_directory(&mut self, path: &GuestPath) -> Result<(), Errno> {
        if path.is_root() || self.is_below_a_mount(path) {
            return Ok(());
        }
        match resolve_in(&self.root, path) {
            Ok(found) => match FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode) {
                FileType::Directory => {}
                _ => return Err(Errno::NOTDIR),
            },
            Err(Errno::NOENT) => {
                let stubs = self.created.len();
                let made = self.create(path, PlaceKind::Directory);
                if made.is_ok() {
                    self.created.truncate(stubs);
                }
                made?;
            }
            Err(errno) => return Err(errno),
        }
        self.kept.push(path.clone());
        Ok(())
    }

    fn is_below_a_mount(&self, path: &GuestPath) -> bool {
        self.mounted
            .iter()
            .any(|mounted| path.strip_prefix(mounted).is_some())
    }

    /// Walks along a path as if the root were `/`, making what is missing.
    fn create(&mut self, path: &GuestPath, leaf: PlaceKind) -> Result<GuestPath, Errno> {
        let mut here = GuestPath::ROOT;
        let mut ahead: Vec<Vec<u8>> = path.components().rev().map(<[u8]>::to_vec).collect();
        let mut links = 0;
        while let Some(name) = ahead.pop() {
            if name == b".." {
                here = here.parent().unwrap_or_default();
                continue;
            }
            let next = here.join(&name);
            if self.is_below_a_mount(&next) {
                // The rest of the path lies in that mount.
                return Ok(ahead.iter().rev().fold(next, |path, name| path.join(name)));
            }
            let parent = resolve_in(&self.root, &here)?;
            match rustix::fs::statat(&parent, &*name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
                    links += 1;
                    if links > MAXIMUM_LINKS {
                        return Err(Errno::LOOP);
                    }
                    let text = rustix::fs::readlinkat(&parent, &*name, Vec::new())?.into_bytes();
                    if text.starts_with(b"/") {
                        here = GuestPath::ROOT;
                    }
                    let names = text.split(|&byte| byte == b'/').rev();
                    ahead.extend(
                        names
                            .filter(|name| !matches!(*name, b"" | b"."))
                            .map(<[u8]>::to_vec),
                    );
                }
                Ok(_) => here = next,
                Err(Errno::NOENT) => {
                    let leaf = if ahead.is_empty() {
                        leaf
                    } else {
                        PlaceKind::Directory
                    };
                    self.created.push(create_one(parent, name, leaf)?);
                    here = next;
                }
                Err(errno) => return Err(errno),
            }
        }
        Ok(here)
    }

    /// Removes what is still empty, the innermost first, and leaves no trace in the times of the
    /// directories above.
    pub(super) fn remove(&mut self) {
        for created in std::mem::take(&mut self.created).iter().rev() {
            // What the process filled stays, and what it removed need not be removed.
            let _ = created.remove_if_empty();
        }
        if let Some(image) = self.image.take() {
            // Directories that cannot be looked at stay.
            let kept = std::mem::take(&mut self.kept);
            let holds_kept = |directory: &GuestPath| {
                kept.iter()
                    .any(|kept| kept.strip_prefix(directory).is_some())
            };
            self.directories.retain(|directory| !holds_kept(directory));
            let _ = image.remove_copies(&self.directories);
        }
    }
}

impl Drop for Stubs {
    fn drop(&mut self) {
        self.remove();
    }
}

fn create_one(parent: OwnedFd, name: Vec<u8>, leaf: PlaceKind) -> Result<Created, Errno> {
    let before = rustix::fs::statat(&parent, "", AtFlags::EMPTY_PATH)?;
    let mode = match leaf {
        PlaceKind::Directory => {
            let mode = Mode::from_raw_mode(0o755);
            rustix::fs::mkdirat(&parent, &*name, mode)?;
            mode
        }
        PlaceKind::File => {
            let mode = Mode::from_raw_mode(0o644);
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            rustix::fs::openat(&parent, &*name, flags, mode)?;
            mode
        }
    };
    // This process's umask took part in the mode, and the directory stays if it is used.
    rustix::fs::chmodat(&parent, &*name, mode, AtFlags::empty())?;
    set_times(&parent, &before)?;
    let stat = rustix::fs::statat(&parent, &*name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(Created {
        parent,
        name,
        inode: (stat.st_dev, stat.st_ino),
    })
}

impl Created {
    fn remove_if_empty(&self) -> Result<(), Errno> {
        let stat = rustix::fs::statat(&self.parent, &*self.name, AtFlags::SYMLINK_NOFOLLOW)?;
        if (stat.st_dev, stat.st_ino) != self.inode {
            return Ok(());
        }
        let flags = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory if is_empty(&self.parent, &self.name)? => AtFlags::REMOVEDIR,
            FileType::RegularFile if stat.st_size == 0 => AtFlags::empty(),
            _ => return Ok(()),
        };
        remove_quietly(&self.parent, &self.name, flags)
    }
}

impl ImageLayers {
    /// Removes directories that the image lacks and that came into the upper directory because the
    /// process changed something about them that it undid later: a file made and deleted, say.
    fn remove_copies(&self, directories: &[GuestPath]) -> Result<(), Errno> {
        let upper = rustix::fs::open(&self.upper, DIRECTORY, Mode::empty())?;
        let mut merged = None;
        for directory in directories.iter().rev() {
            let parent = directory.parent().unwrap_or_default();
            // The process may have put links here: none is followed.
            let Ok(parent) = open_scoped(&upper, parent.as_relative(), DIRECTORY, Links::None)
            else {
                continue;
            };
            if !matches!(is_empty(&parent, directory.name()), Ok(true)) {
                continue;
            }
            if merged.is_none() && !self.lowers.is_empty() {
                let spec = OverlaySpec {
                    lowers: self.lowers.clone(),
                    upper_and_work: None,
                };
                merged = Some(overlay::mount(&spec).map_err(|_| Errno::IO)?);
            }
            let is_in_image = merged
                .as_ref()
                .is_some_and(|image| resolve_in(image, directory).is_ok());
            if !is_in_image {
                remove_quietly(&parent, directory.name(), AtFlags::REMOVEDIR)?;
            }
        }
        Ok(())
    }
}

/// Removes a name and leaves no trace in the times of its directory.
fn remove_quietly(parent: &OwnedFd, name: &[u8], flags: AtFlags) -> Result<(), Errno> {
    let before = rustix::fs::statat(parent, "", AtFlags::EMPTY_PATH)?;
    rustix::fs::unlinkat(parent, name, flags)?;
    set_times(parent, &before)
}

fn set_times(directory: &OwnedFd, stat: &Stat) -> Result<(), Errno> {
    let time = |seconds: i64, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
    };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    rustix::fs::utimensat(directory, ".", &times, AtFlags::empty())
}

fn is_empty(parent: &OwnedFd, name: &[u8]) -> Result<bool, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    for entry in Dir::read_from(&directory)? {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_there_is_not_taken_for_a_stub() {
        let directory = tempfile::tempdir().unwrap();
        let create = |name: &str, kind| {
            let parent = std::fs::File::open(directory.path()).unwrap();
            create_one(parent.into(), name.as_bytes().to_vec(), kind)
        };
        std::fs::write(directory.path().join("kept"), "x").unwrap();
        for kind in [PlaceKind::File, PlaceKind::Directory] {
            assert_eq!(create("kept", kind).unwrap_err(), Errno::EXIST);
        }
        create("file", PlaceKind::File).unwrap();
        create("directory", PlaceKind::Directory).unwrap();
        assert!(directory.path().join("file").is_file());
        assert!(directory.path().join("directory").is_dir());
    }
}
