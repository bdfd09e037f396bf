//! Mounts that are not attached anywhere, made by the parent for a child to put in place.

use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
};

use super::surroundings::Surroundings;

/// Attributes of mounts that hold no programs and no devices.
pub(super) const PLAIN: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// Makes a file system that is not attached anywhere.
pub(super) fn new_mount(
    kind: &str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> Result<OwnedFd, Errno> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(context.as_fd(), "source", kind)?;
    for (key, value) in options {
        if value.is_empty() {
            rustix::mount::fsconfig_set_flag(context.as_fd(), *key)?;
        } else {
            rustix::mount::fsconfig_set_string(context.as_fd(), *key, *value)?;
        }
    }
    rustix::mount::fsconfig_create(context.as_fd())?;
    rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Clones what is mounted at a path and below it; the clone is not attached anywhere.
pub(super) fn clone_tree(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::mount::open_tree(
        CWD,
        path,
        OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_RECURSIVE,
    )
}

/// Attaches a mount to a path of the host's, visible to this process only.
pub(super) fn attach(mount: &OwnedFd, path: &Path) -> Result<(), Errno> {
    rustix::mount::move_mount(
        mount,
        "",
        CWD,
        path,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
}

/// Clones a mount of each of some files of a detached file system.
///
/// Kernels before 6.15 clone only what is attached. There it is attached to the tree of this process
/// for as long as that takes, which is long: taking it off again waits for all processors.
pub(super) fn clone_files(
    surroundings: &Surroundings,
    file_system: &OwnedFd,
    names: &[String],
) -> Result<Vec<OwnedFd>, Errno> {
    match clone_each(file_system, names) {
        Err(Errno::INVAL) => {
            let _attached = Attached::at(file_system, surroundings.own_path("files"))?;
            clone_each(file_system, names)
        }
        other => other,
    }
}

/// Clones a mount of each of some files, where the kernel does that for what is detached.
pub(super) fn clone_each(file_system: &OwnedFd, names: &[String]) -> Result<Vec<OwnedFd>, Errno> {
    let clone = |name: &String| {
        rustix::mount::open_tree(
            file_system,
            name.as_str(),
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
        )
    };
    names.iter().map(clone).collect()
}

/// A directory of ours with something mounted on it for a moment.
struct Attached(PathBuf);

impl Attached {
    fn at(mount: &OwnedFd, directory: PathBuf) -> Result<Self, Errno> {
        rustix::fs::mkdir(&directory, Mode::RWXU)?;
        let attached = Self(directory);
        attach(mount, &attached.0)?;
        Ok(attached)
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // Left behind, it vanishes with this process.
        let _ = rustix::mount::unmount(&self.0, UnmountFlags::DETACH);
        let _ = fs::remove_dir(&self.0);
    }
}
