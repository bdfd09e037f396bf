//! Places in the state directory, and how files come to them.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use kiln_cache::{Store, WorkDir};
use kiln_oci::DiffId;
use rustix::fs::{Mode, Stat};

use crate::error::LayerError;

/// Makes the directory that becomes a layer's `diff`: the root of the files, so open to all.
/// Returns what it was made as: that tells whose new files are, and what the umask takes from 0777.
pub(crate) fn make_diff_directory(work: &WorkDir) -> Result<(PathBuf, Stat), LayerError> {
    let path = work.path().join("diff");
    let stat = make_open_directory(&path).map_err(LayerError::at(&path))?;
    Ok((path, stat))
}

/// Makes a directory of mode 0755 with any umask, and returns its metadata at first.
pub(crate) fn make_open_directory(path: &Path) -> io::Result<Stat> {
    rustix::fs::mkdir(path, Mode::from_raw_mode(0o777))?;
    let stat = rustix::fs::stat(path)?;
    if stat.st_mode & 0o7777 != 0o755 {
        rustix::fs::chmod(path, Mode::from_raw_mode(0o755))?;
    }
    Ok(stat)
}

pub(crate) fn diff_path(store: &Store, diff_id: DiffId) -> PathBuf {
    store.path(format!("diffs/{}", diff_id.0.hex()))
}

/// Writes a small file, all of it or nothing.
pub(crate) fn replace(store: &Store, path: &Path, bytes: &[u8]) -> Result<(), LayerError> {
    let temporary = store.work_file().map_err(LayerError::at(path))?;
    fs::write(&temporary, bytes).map_err(LayerError::at(&temporary))?;
    rename_into(&temporary, path).map_err(LayerError::at(path))
}

/// Renames, making the directory it goes to if there is none.
pub(crate) fn rename_into(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            fs::create_dir_all(to.parent().expect("the store's files lie below its root"))?;
            fs::rename(from, to)
        }
        other => other,
    }
}
