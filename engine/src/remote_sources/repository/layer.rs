//! The layer of a checkout.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use kiln_files::GuestPath;
use kiln_snapshotter::{FileContent, Layer, LayerBuilder, LayerStore, Metadata};
use kiln_solver::RemoteError;

use crate::remote_sources::sources::local;

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
                .add_file(&inside, &metadata, FileContent::File(&file))
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
