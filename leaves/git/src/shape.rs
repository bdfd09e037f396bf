//! One shape for all files of a checkout.
//!
//! git knows of a file whether it may be executed, and nothing of owners, other permissions and
//! times. What the machine made of that (its umask, its clock) is no part of the commit.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use kiln_files::remove_tree;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

/// Which of git's own files stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GitFiles {
    /// None.
    None,
    /// Those of the repository itself and its submodules.
    OfTheRoot,
}

/// Gives everything below a directory its mode and one time, and removes git's own files.
pub(crate) fn unify(directory: &Path, time: Timespec, git_files: GitFiles) -> io::Result<()> {
    for (path, kind) in entries(directory)? {
        if git_files == GitFiles::None && path.file_name().is_some_and(|name| name == ".git") {
            if kind.is_dir() {
                remove_tree(&path)?;
            } else {
                fs::remove_file(&path)?;
            }
            continue;
        }
        if kind.is_dir() {
            unify(&path, time, git_files)?;
            continue;
        }
        if kind.is_file() {
            let is_program = fs::metadata(&path)?.permissions().mode() & 0o100 != 0;
            let mode = if is_program { 0o755 } else { 0o644 };
            fs::set_permissions(&path, Permissions::from_mode(mode))?;
        }
        set_time(&path, time)?;
    }
    fs::set_permissions(directory, Permissions::from_mode(0o755))?;
    set_time(directory, time)
}

fn set_time(path: &Path, time: Timespec) -> io::Result<()> {
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

fn entries(directory: &Path) -> io::Result<Vec<(PathBuf, fs::FileType)>> {
    let mut entries = fs::read_dir(directory)?
        .map(|entry| {
            let entry = entry?;
            Ok((entry.path(), entry.file_type()?))
        })
        .collect::<io::Result<Vec<_>>>()?;
    entries.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    Ok(entries)
}
