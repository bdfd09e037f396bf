//! Places in the root: found, and made where they are missing.

use std::ffi::{CStr, CString};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::{During as _, Step};
use crate::sys::program::{Leaf, Program, Target};
use crate::sys::report::{Record, Stage};

/// Opens a path as if `root` were `/`: no link and no `..` leads out of it.
pub(super) fn resolve(root: BorrowedFd<'_>, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    // The kernel asks to try again if something was renamed meanwhile.
    for _ in 0..100 {
        match rustix::fs::openat2(
            root,
            path,
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        ) {
            Err(Errno::AGAIN) => {}
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

/// Finds the place of a mount, creating what is missing.
pub(super) fn open_target(
    program: &Program<'_>,
    index: usize,
    target: &Target,
) -> Step<ManuallyDrop<OwnedFd>> {
    let Some(path) = target.prefixes.last() else {
        return Err(Record::failure(Stage::Target, index, Errno::INVAL));
    };
    match resolve(program.root, path, OFlags::PATH) {
        Err(Errno::NOENT) => create_target(program, index, target),
        other => other.map(ManuallyDrop::new).during(Stage::Target, index),
    }
}

fn create_target(
    program: &Program<'_>,
    index: usize,
    target: &Target,
) -> Step<ManuallyDrop<OwnedFd>> {
    let mut parent =
        ManuallyDrop::new(resolve(program.root, c".", OFlags::PATH).during(Stage::Target, index)?);
    let last = target.prefixes.len().saturating_sub(1);
    for (depth, (prefix, name)) in target.prefixes.iter().zip(&target.names).enumerate() {
        let opened = match resolve(program.root, prefix, OFlags::PATH) {
            Err(Errno::NOENT) => {
                let leaf = if depth == last {
                    target.leaf
                } else {
                    Leaf::Directory
                };
                create(parent.as_fd(), name, leaf).during(Stage::Target, index)?;
                resolve(program.root, prefix, OFlags::PATH)
            }
            other => other,
        };
        parent = ManuallyDrop::new(opened.during(Stage::Target, index)?);
    }
    Ok(parent)
}

fn create(parent: BorrowedFd<'_>, name: &CStr, leaf: Leaf) -> Result<(), Errno> {
    match leaf {
        Leaf::Directory => rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)),
        Leaf::File => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o644)).map(drop)
        }
    }
}

/// Enters the working directory, making what is missing of it.
pub(super) fn enter_working_directory(prefixes: &[CString]) -> Step<()> {
    let Some(path) = prefixes.last() else {
        return Ok(());
    };
    let entered = match rustix::process::chdir(path.as_c_str()) {
        Err(Errno::NOENT) => {
            for prefix in prefixes {
                match rustix::fs::mkdir(prefix.as_c_str(), Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(errno) => return Err(errno).during(Stage::WorkingDirectory, 0),
                }
            }
            rustix::process::chdir(path.as_c_str())
        }
        other => other,
    };
    entered.during(Stage::WorkingDirectory, 0)
}
