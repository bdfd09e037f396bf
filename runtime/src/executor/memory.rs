//! Files that exist in memory only: secrets.
//!
//! All secrets of a job share one ramfs, whose pages are never swapped out, on any kernel and for
//! any user; a tmpfs with `noswap` needs Linux 6.4 and real root. A ramfs knows no limit of size,
//! but once the files are written it is made read-only as a whole, so no process can add to it.
//! It lives as long as the mounts of its files, which is as long as the job.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::mount::FsPickFlags;

use super::context::ExecutorContext;
use super::detached::{PLAIN, new_mount};
use super::file_mounts::clone_files;
use crate::{ExecError, JobMount, MountSource};

/// How long to wait between two attempts at making files read-only that another process has open
/// for writing, and how often.
const PAUSE: Duration = Duration::from_micros(200);
const MOST_PAUSES: usize = 25_000;

/// Returns a detached mount for each [`MountSource::File`], in order.
pub(super) fn memory_files(
    context: &ExecutorContext,
    mounts: &[&JobMount],
) -> Result<Vec<OwnedFd>, ExecError> {
    let mut names = Vec::new();
    let mut memory = None;
    for mount in mounts {
        let MountSource::File {
            content,
            mode,
            uid,
            gid,
        } = &mount.source
        else {
            continue;
        };
        let unmapped = |kind, id| Err(ExecError::UnmappedId { kind, id });
        if !context.ids.has_user(*uid) {
            return unmapped("user", *uid);
        }
        if !context.ids.has_group(*gid) {
            return unmapped("group", *gid);
        }
        let memory = match &memory {
            Some(memory) => memory,
            None => memory.insert(
                new_mount("ramfs", &[("mode", "0700")], PLAIN)
                    .map_err(ExecError::mount(&mount.target))?,
            ),
        };
        let name = names.len().to_string();
        write_file(memory, &name, content.expose(), (*mode, *uid, *gid))
            .map_err(ExecError::mount(&mount.target))?;
        names.push(name);
    }
    match memory {
        None => Ok(Vec::new()),
        Some(memory) => make_read_only(&memory)
            .and_then(|()| clone_files(context, &memory, &names))
            .map_err(ExecError::prepare("mounting files in memory")),
    }
}

fn write_file(
    directory: &OwnedFd,
    name: &str,
    content: &[u8],
    (mode, uid, gid): (u32, u32, u32),
) -> Result<(), Errno> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR)?;
    let mut file = File::from(file);
    file.write_all(content)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    rustix::fs::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    // After the owner, since a change of owner takes set-id bits away.
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode & 0o7777))
}

/// Makes a file system read-only, not just one mount of it.
///
/// A process that another thread has just forked may still have a copy of the descriptor that a
/// file was written through. It is closed as soon as that process executes something; there is
/// nothing to wait for but time.
fn make_read_only(file_system: &OwnedFd) -> Result<(), Errno> {
    for _ in 0..MOST_PAUSES {
        match try_read_only(file_system) {
            Err(Errno::BUSY) => std::thread::sleep(PAUSE),
            other => return other,
        }
    }
    try_read_only(file_system)
}

fn try_read_only(file_system: &OwnedFd) -> Result<(), Errno> {
    let flags = FsPickFlags::FSPICK_EMPTY_PATH | FsPickFlags::FSPICK_CLOEXEC;
    let context = rustix::mount::fspick(file_system, "", flags)?;
    rustix::mount::fsconfig_set_flag(context.as_fd(), "ro")?;
    rustix::mount::fsconfig_reconfigure(context.as_fd())
}
