//! Finding files in a root, or in a directory or mount that is treated as one.

use std::os::fd::OwnedFd;
use std::path::Path;

use kiln_files::{GuestPath, Links, open_scoped};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::{ExecError, JobMount};

/// Opens a path as if `base` were the root.
pub(super) fn open_inside(
    mount: &JobMount,
    base: &Path,
    inside: &GuestPath,
) -> Result<OwnedFd, ExecError> {
    let opened =
        rustix::fs::open(base, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(|errno| {
            ExecError::MountSource {
                path: base.to_owned(),
                source: errno.into(),
            }
        })?;
    if inside.is_root() {
        Ok(opened)
    } else {
        resolve_in(&opened, inside).map_err(missing_part(mount, inside))
    }
}

/// Returns the error of a mount whose source lacks what it is to show.
pub(super) fn missing_part(
    mount: &JobMount,
    inside: &GuestPath,
) -> impl FnOnce(Errno) -> ExecError {
    move |errno| ExecError::MountPart {
        target: mount.target.clone(),
        path: inside.clone(),
        source: errno.into(),
    }
}

/// Opens a path as if `base` were the root: no link and no `..` leads out of it.
pub(super) fn resolve_in(base: &OwnedFd, path: &GuestPath) -> Result<OwnedFd, Errno> {
    open_scoped(base, path.as_relative(), OFlags::PATH, Links::FromRoot)
}
