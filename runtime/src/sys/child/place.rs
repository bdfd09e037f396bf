//! Places in the root: found, and made where they are missing.

use std::ffi::CStr;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use kiln_files::{Links, open_scoped};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::step::{During as _, Step};
use crate::sys::program::{PlaceKind, PlacePath, ProcessSetup};
use crate::sys::report::SetupStage;

/// Opens a path as if `root` were `/`: no link and no `..` leads out of it.
pub(super) fn resolve(root: BorrowedFd<'_>, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    open_scoped(root, path, flags, Links::FromRoot)
}

/// Finds the place of a mount, creating what is missing.
pub(super) fn open_target(
    program: &ProcessSetup<'_>,
    index: usize,
    target: &PlacePath,
) -> Step<ManuallyDrop<OwnedFd>> {
    open_in(program.root, target).during(SetupStage::Target, index)
}

/// Opens a place, creating what is missing.
fn open_in(root: BorrowedFd<'_>, target: &PlacePath) -> Result<ManuallyDrop<OwnedFd>, Errno> {
    let path = target.prefixes.last().ok_or(Errno::INVAL)?;
    let opened = match resolve(root, path, OFlags::PATH) {
        Err(Errno::NOENT) => create_in(root, target),
        other => other,
    };
    opened.map(ManuallyDrop::new)
}

fn create_in(root: BorrowedFd<'_>, target: &PlacePath) -> Result<OwnedFd, Errno> {
    let mut parent = resolve(root, c".", OFlags::PATH)?;
    let last = target.prefixes.len().saturating_sub(1);
    for (depth, (prefix, name)) in target.prefixes.iter().zip(&target.names).enumerate() {
        parent = match resolve(root, prefix, OFlags::PATH) {
            Err(Errno::NOENT) => {
                let leaf = if depth == last {
                    target.leaf
                } else {
                    PlaceKind::Directory
                };
                create(parent.as_fd(), name, leaf)?;
                resolve(root, prefix, OFlags::PATH)?
            }
            other => other?,
        };
    }
    Ok(parent)
}

fn create(parent: BorrowedFd<'_>, name: &CStr, leaf: PlaceKind) -> Result<(), Errno> {
    match leaf {
        PlaceKind::Directory => rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)),
        PlaceKind::File => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o644)).map(drop)
        }
    }
}

/// Enters a directory of the root, making what is missing of it; none is the root itself.
pub(super) fn enter_directory(place: Option<&PlacePath>) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(c"/", flags, Mode::empty())?;
    match place {
        None => rustix::process::fchdir(&root),
        Some(place) => rustix::process::fchdir(&*open_in(root.as_fd(), place)?),
    }
}
