//! The mounts that a new process sees.

use std::ffi::CStr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
};

use super::place::{open_target, resolve};
use super::step::{During as _, Step};
use crate::sys::program::{Fresh, MountStep, ProcessSetup};
use crate::sys::raw;
use crate::sys::report::SetupStage;
use crate::{MountAccess, OuterProc};

/// Attributes of every file system made here that holds no programs and no devices.
const PLAIN: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

const ONTO_EMPTY: MoveMountFlags =
    MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH.union(MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH);

/// Makes the prepared mounts the whole tree this process sees.
pub(super) fn enter_root(program: &ProcessSetup<'_>) -> Step<()> {
    // Attached on top of the old root, where no path leads to it.
    rustix::mount::move_mount(
        program.root,
        c"",
        CWD,
        c"/",
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .during(SetupStage::AttachRoot, 0)?;
    for (index, step) in program.mounts.iter().enumerate() {
        make_mount(program, index, step)?;
    }
    rustix::process::fchdir(program.root).during(SetupStage::PivotRoot, 0)?;
    // pivot_root(2), "pivot_root(".", ".")": the old root ends up on top of the new one.
    rustix::process::pivot_root(c".", c".").during(SetupStage::PivotRoot, 0)?;
    rustix::mount::unmount(c".", UnmountFlags::DETACH).during(SetupStage::DetachOldRoot, 0)?;
    rustix::process::chdir(c"/").during(SetupStage::PivotRoot, 0)
}

fn make_mount(program: &ProcessSetup<'_>, index: usize, step: &MountStep) -> Step<()> {
    match step {
        MountStep::Attach { mount, target } => {
            let place = open_target(program, index, target)?;
            attach(mount.as_fd(), place.as_fd()).during(SetupStage::Attach, index)
        }
        MountStep::Beneath { mount, base, name } => {
            let base = base_mount(program, *base).during(SetupStage::Attach, index)?;
            attach_at(mount.as_fd(), base, name).during(SetupStage::Attach, index)
        }
        MountStep::Queue { base, name } => {
            let base = base_mount(program, *base).during(SetupStage::Attach, index)?;
            let queue = new_mount(c"mqueue", PLAIN).during(SetupStage::MakeMount, index)?;
            attach_at(queue.as_fd(), base, name).during(SetupStage::Attach, index)
        }
        MountStep::Part {
            whole,
            staging,
            part,
            read_only,
            target,
        } => {
            let mount = part_of(whole.as_fd(), staging, part, *read_only)
                .during(SetupStage::MakeMount, index)?;
            let place = open_target(program, index, target)?;
            attach(mount.as_fd(), place.as_fd()).during(SetupStage::Attach, index)
        }
        MountStep::Fresh {
            kind,
            target,
            masks,
            read_only,
        } => {
            let mount = match fresh(*kind) {
                Ok(mount) => mount,
                Err(_) if matches!(kind, Fresh::Cgroup2(_)) => return Ok(()),
                Err(errno) => return Err(errno).during(SetupStage::MakeMount, index),
            };
            let place = open_target(program, index, target)?;
            attach(mount.as_fd(), place.as_fd()).during(SetupStage::Attach, index)?;
            for (mask, name) in masks {
                unless_missing(attach_at(mask.as_fd(), mount.as_fd(), name))
                    .during(SetupStage::Mask, index)?;
            }
            for name in read_only {
                unless_missing(protect(mount.as_fd(), name)).during(SetupStage::Mask, index)?;
            }
            Ok(())
        }
    }
}

fn base_mount<'a>(program: &ProcessSetup<'a>, base: usize) -> Result<BorrowedFd<'a>, Errno> {
    match program.mounts.get(base) {
        Some(MountStep::Attach { mount, .. }) => Ok(mount.as_fd()),
        _ => Err(Errno::BADF),
    }
}

fn unless_missing(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

fn attach(mount: BorrowedFd<'_>, place: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::mount::move_mount(mount, c"", place, c"", ONTO_EMPTY)
}

fn attach_at(mount: BorrowedFd<'_>, base: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    rustix::mount::move_mount(
        mount,
        c"",
        base,
        name,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
}

fn new_mount(kind: &CStr, attributes: MountAttrFlags) -> Result<OwnedFd, Errno> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    // Otherwise mountinfo says "none".
    rustix::mount::fsconfig_set_string(context.as_fd(), c"source", kind)?;
    rustix::mount::fsconfig_create(context.as_fd())?;
    rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Makes a `/proc` of this process's namespace.
pub(crate) fn new_proc() -> Result<OwnedFd, Errno> {
    new_mount(c"proc", PLAIN)
}

fn fresh(kind: Fresh) -> Result<OwnedFd, Errno> {
    match kind {
        Fresh::Proc(outer) => match (new_proc(), outer) {
            (Err(Errno::PERM), OuterProc::Shown) => clone_tree(c"/proc"),
            (proc, _) => proc,
        },
        Fresh::Sysfs(MountAccess::ReadWrite) => {
            new_mount(c"sysfs", PLAIN).or_else(|_| clone_tree(c"/sys"))
        }
        Fresh::Sysfs(MountAccess::ReadOnly) => {
            let sysfs = new_mount(c"sysfs", PLAIN).or_else(|_| clone_tree(c"/sys"))?;
            raw::mount_setattr(&sysfs, true, MountAttrFlags::MOUNT_ATTR_RDONLY, 0)?;
            Ok(sysfs)
        }
        Fresh::Cgroup2(MountAccess::ReadWrite) => new_mount(c"cgroup2", PLAIN),
        Fresh::Cgroup2(MountAccess::ReadOnly) => {
            new_mount(c"cgroup2", PLAIN | MountAttrFlags::MOUNT_ATTR_RDONLY)
        }
    }
}

fn clone_tree(path: &CStr) -> Result<OwnedFd, Errno> {
    rustix::mount::open_tree(
        CWD,
        path,
        OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_RECURSIVE,
    )
}

/// Makes a name below a mount read-only by mounting it on itself.
fn protect(base: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    let clone = rustix::mount::open_tree(
        base,
        name,
        OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_RECURSIVE,
    )?;
    raw::mount_setattr(&clone, true, MountAttrFlags::MOUNT_ATTR_RDONLY, 0)?;
    attach_at(clone.as_fd(), base, name)
}

/// Cuts a part out of a detached mount.
///
/// Kernels before 6.15 clone only what is attached, so the whole is attached to the old root
/// first and goes away with it.
fn part_of(
    whole: BorrowedFd<'_>,
    staging: &CStr,
    part: &CStr,
    read_only: bool,
) -> Result<OwnedFd, Errno> {
    rustix::mount::move_mount(
        whole,
        c"",
        CWD,
        staging,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )?;
    let inside = resolve(whole, part, OFlags::PATH)?;
    let clone = rustix::mount::open_tree(
        inside.as_fd(),
        c"",
        OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH
            | OpenTreeFlags::AT_RECURSIVE,
    )?;
    if read_only {
        raw::mount_setattr(&clone, true, MountAttrFlags::MOUNT_ATTR_RDONLY, 0)?;
    }
    Ok(clone)
}
