//! Mount points that a child had to create and that must not stay.
//!
//! Rare: [`super::surroundings`] provides them below the image's layers. But a layer may hide what
//! is below it, by a whiteout or an opaque directory, and a plain directory has nothing below it.

use std::os::fd::OwnedFd;

use kiln_cache::GuestPath;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps};
use rustix::io::Errno;

/// The root, and what was created in it.
#[derive(Debug)]
pub(crate) struct Stubs {
    root: OwnedFd,
    created: Vec<GuestPath>,
}

impl Stubs {
    pub(super) fn new(root: OwnedFd) -> Self {
        Self {
            root,
            created: Vec::new(),
        }
    }

    /// Notes that the first `depth + 1` components of a target end in something created.
    pub(super) fn note(&mut self, target: &GuestPath, depth: usize) {
        let components: Vec<_> = target.components().take(depth + 1).collect();
        self.created.push(GuestPath::new(components.join(&b'/')));
    }

    /// Removes what is still empty, the innermost first, and leaves no trace in the times of the
    /// directories above (dockerfile.md, RUN --mount).
    pub(super) fn remove(&mut self) {
        for path in std::mem::take(&mut self.created).iter().rev() {
            // A stub that the process replaced, filled or removed is its own business.
            let _ = remove_if_empty(&self.root, path);
        }
    }
}

fn remove_if_empty(root: &OwnedFd, path: &GuestPath) -> Result<(), Errno> {
    let parent = path.parent().unwrap_or_default();
    let parent = rustix::fs::openat2(
        root,
        parent.as_relative(),
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )?;
    let stat = rustix::fs::statat(&parent, path.name(), AtFlags::SYMLINK_NOFOLLOW)?;
    let flags = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory if is_empty(&parent, path.name())? => AtFlags::REMOVEDIR,
        FileType::RegularFile if stat.st_size == 0 => AtFlags::empty(),
        _ => return Ok(()),
    };
    let before = rustix::fs::statat(&parent, "", AtFlags::EMPTY_PATH)?;
    rustix::fs::unlinkat(&parent, path.name(), flags)?;
    let time = |seconds: i64, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
    };
    let times = Timestamps {
        last_access: time(before.st_atime, before.st_atime_nsec),
        last_modification: time(before.st_mtime, before.st_mtime_nsec),
    };
    rustix::fs::utimensat(&parent, ".", &times, AtFlags::empty())
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
