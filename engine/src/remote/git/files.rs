//! One shape for all files of a checkout.
//!
//! git knows of a file whether it may be executed, and nothing of owners, other permissions and
//! times. What the machine made of that (its umask, its clock) is no part of the commit.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use kiln_files::{GuestPath, remove_tree};
use kiln_oci::Timestamp;
use kiln_snapshotter::{Content, Layer, LayerBuilder, LayerStore, Metadata};
use kiln_solver::RemoteError;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use crate::remote::sources::local;

/// Which of git's own files stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GitFiles {
    /// None.
    None,
    /// Those of the repository itself and its submodules.
    OfTheRoot,
}

/// Gives everything below a directory its mode and one time, and removes git's own files.
pub(super) fn unify(
    directory: &Path,
    time: Timestamp,
    git_files: GitFiles,
) -> Result<(), RemoteError> {
    unify_directory(directory, time, git_files).map_err(local("cannot finish a checkout"))
}

fn unify_directory(directory: &Path, time: Timestamp, git_files: GitFiles) -> io::Result<()> {
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
            unify_directory(&path, time, git_files)?;
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

fn set_time(path: &Path, time: Timestamp) -> io::Result<()> {
    let time = Timespec {
        tv_sec: time.seconds,
        tv_nsec: time.nanoseconds.into(),
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Makes a layer of a directory, as if root owned everything.
pub(super) fn layer(directory: &Path, layers: &LayerStore) -> Result<Layer, RemoteError> {
    let builder = layers.builder().map_err(local(MAKING))?;
    add_directory(&builder, directory, &GuestPath::ROOT)?;
    builder.finish().map_err(local(MAKING))
}

const MAKING: &str = "cannot make a layer of a repository";

fn add_directory(
    builder: &LayerBuilder,
    directory: &Path,
    path: &GuestPath,
) -> Result<(), RemoteError> {
    let read = || local("cannot read a checkout");
    let metadata = metadata(directory).map_err(read())?;
    builder
        .add_directory(path, &metadata)
        .map_err(local(MAKING))?;
    for (host, kind) in entries(directory).map_err(read())? {
        let name = host.file_name().expect("entries have names");
        let inside = path.join(name.as_bytes());
        let metadata = self::metadata(&host).map_err(read())?;
        if kind.is_dir() {
            add_directory(builder, &host, &inside)?;
        } else if kind.is_symlink() {
            let target = fs::read_link(&host).map_err(read())?;
            builder
                .add_symlink(&inside, &metadata, target.as_os_str().as_bytes())
                .map_err(local(MAKING))?;
        } else {
            let file = File::open(&host).map_err(read())?;
            builder
                .add_file(&inside, &metadata, Content::File(&file))
                .map_err(local(MAKING))?;
        }
    }
    Ok(())
}

fn metadata(path: &Path) -> io::Result<Metadata<'static>> {
    let found = fs::symlink_metadata(path)?;
    let mode = (found.permissions().mode() & 0o777) as u16;
    Ok(Metadata::root_owned(mode, found.modified()?.into()))
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
