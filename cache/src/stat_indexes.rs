//! Stat indexes of build contexts: a [`StatIndex`] for each, named by its path. They may be deleted
//! at any time.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use kiln_tree::{Blake3, StatIndex};

use crate::Store;

/// Reads the index of the context at `context`; an empty one if none can be read.
#[must_use]
pub fn load_stat_index(store: &Store, context: &Path) -> StatIndex {
    File::open(path(store, context))
        .ok()
        .and_then(|file| StatIndex::read(file).ok().flatten())
        .unwrap_or_default()
}

/// Writes the index of the context at `context`.
///
/// # Errors
/// When it cannot be written. The build does not depend on it.
pub fn save_stat_index(store: &Store, context: &Path, index: &StatIndex) -> io::Result<()> {
    let path = path(store, context);
    let temporary = store.work_file()?;
    let mut file = BufWriter::new(File::create(&temporary)?);
    index.write(&mut file)?;
    file.flush()?;
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::rename(&temporary, &path)
}

fn path(store: &Store, context: &Path) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    let name = Blake3::of(context.as_os_str().as_bytes()).hex();
    store.path(format!("contexts/{}", &name[..32]))
}
