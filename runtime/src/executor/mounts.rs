//! The mounts a job asks for: what each shows, made or opened by the parent.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use kiln_snapshotter::overlay::{self, OverlaySpec};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, OpenTreeFlags};

use super::context::ExecutorContext;
use super::detached::{clone_tree, new_mount, restrict};
use super::inside::{missing_part, open_inside, resolve_in};
use super::nodes::OtherNodes;
use crate::sys::{self, MountStep, PlaceKind, PlacePath};
use crate::{ExecError, JobMount, MountAccess, MountSource, OverlayDirectories};

/// What a mount shows, not attached anywhere.
pub(super) struct MountContent {
    mount: OwnedFd,
    /// A path inside, if it is not all to be shown.
    part: Option<CString>,
    pub(super) leaf: PlaceKind,
}

/// Makes or opens what a mount shows. `memory` holds the mounts of files in memory that are still
/// to come.
///
/// Device nodes in it work only where rules say which devices the job may use: an image may hold the
/// node of a disk.
pub(super) fn source(
    context: &ExecutorContext,
    others: OtherNodes,
    mount: &JobMount,
    memory: &mut impl Iterator<Item = OwnedFd>,
) -> Result<MountContent, ExecError> {
    let failed = |errno: Errno| ExecError::Mount {
        target: mount.target.clone(),
        source: errno.into(),
    };
    let (detached, part) = match &mount.source {
        MountSource::Bind { path, inside } => {
            let opened = open_inside(mount, path, inside)?;
            let clone = rustix::mount::open_tree(
                &opened,
                "",
                OpenTreeFlags::OPEN_TREE_CLONE
                    | OpenTreeFlags::OPEN_TREE_CLOEXEC
                    | OpenTreeFlags::AT_EMPTY_PATH
                    | OpenTreeFlags::AT_RECURSIVE,
            )
            .map_err(failed)?;
            (clone, None)
        }
        MountSource::Tmpfs { size_bytes, mode } => {
            let mode = format!("{mode:04o}");
            let size = size_bytes.map(|size| size.to_string());
            let mut options = vec![("mode", mode.as_str())];
            if let Some(size) = &size {
                options.push(("size", size));
            }
            // As with BuildKit, programs in it can be started.
            let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID;
            let made = new_mount("tmpfs", &options, attributes);
            (made.map_err(failed)?, None)
        }
        MountSource::File { .. } => {
            let file = memory.next().expect("there is one for each such source");
            (file, None)
        }
        MountSource::Layers {
            lowers,
            inside,
            scratch,
        } => {
            let whole =
                stack(context, lowers, scratch.as_ref()).map_err(|source| ExecError::Mount {
                    target: mount.target.clone(),
                    source,
                })?;
            (whole, Some(inside).filter(|inside| !inside.is_root()))
        }
    };
    sys::mount_setattr(&detached, true, others.attributes(), 0).map_err(failed)?;
    let Some(inside) = part else {
        let leaf = file_type(&detached).map_err(failed)?;
        return Ok(MountContent {
            mount: restrict(detached, mount.access).map_err(failed)?,
            part: None,
            leaf,
        });
    };
    let opened = resolve_in(&detached, inside).map_err(missing_part(mount, inside))?;
    Ok(MountContent {
        leaf: file_type(&opened).map_err(failed)?,
        mount: detached,
        part: Some(CString::new(inside.as_bytes()).map_err(|_| failed(Errno::INVAL))?),
    })
}

pub(super) fn mount_step(
    context: &ExecutorContext,
    mount: &JobMount,
    source: MountContent,
    target: PlacePath,
) -> MountStep {
    match source.part {
        None => MountStep::Attach {
            mount: source.mount,
            target,
        },
        Some(part) => MountStep::Part {
            whole: source.mount,
            staging: host_path(&context.staging()),
            part,
            read_only: mount.access == MountAccess::ReadOnly,
            target,
        },
    }
}

fn host_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("the directory exists, so it has a name")
}

/// Merges layers that are not a root.
fn stack(
    context: &ExecutorContext,
    lowers: &[PathBuf],
    scratch: Option<&OverlayDirectories>,
) -> Result<OwnedFd, std::io::Error> {
    if let ([only], None) = (lowers, scratch) {
        return Ok(clone_tree(only)?);
    }
    let mut lowers = lowers.to_vec();
    if lowers.is_empty() {
        lowers.push(context.empty());
    }
    overlay::mount(&OverlaySpec {
        lowers,
        upper_and_work: scratch.map(|w| (w.upper.clone(), w.work.clone())),
    })
}

fn file_type(file: &OwnedFd) -> Result<PlaceKind, Errno> {
    let mode = rustix::fs::fstat(file)?.st_mode;
    match rustix::fs::FileType::from_raw_mode(mode) {
        rustix::fs::FileType::Directory => Ok(PlaceKind::Directory),
        _ => Ok(PlaceKind::File),
    }
}
