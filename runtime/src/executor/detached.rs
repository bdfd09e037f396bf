//! Mounts that are not attached anywhere, made by the parent for a child to put in place.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags};

use crate::{MountAccess, sys};

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

/// Makes a mount read-only where asked, and deaf to mounts of the host.
pub(super) fn restrict(mount: OwnedFd, access: MountAccess) -> Result<OwnedFd, Errno> {
    let attributes = match access {
        MountAccess::ReadOnly => MountAttrFlags::MOUNT_ATTR_RDONLY,
        MountAccess::ReadWrite => MountAttrFlags::empty(),
    };
    sys::mount_setattr(&mount, true, attributes, libc::MS_PRIVATE)?;
    Ok(mount)
}
