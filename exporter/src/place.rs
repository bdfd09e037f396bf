//! Files that appear whole or not at all, and last: once kiln says that one is written, it survives a
//! loss of power.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::error::ExportError;

/// Writes a file through `act`. It gets its name when `act` has succeeded and its bytes are on disk;
/// until then, an older file keeps the name. A path that is no regular file, such as `/dev/stdout`,
/// is opened and written to.
///
/// # Errors
/// Those of `act`, or when the file cannot be written.
pub fn write_file(
    path: &Path,
    act: impl FnOnce(&mut dyn Write) -> Result<(), ExportError>,
) -> Result<(), ExportError> {
    let special = fs::metadata(path).is_ok_and(|metadata| !metadata.is_file());
    if special {
        let file = File::options().write(true).open(path);
        return fill(file.map_err(ExportError::at(path))?, act);
    }
    // Through a symbolic link, it is the file behind that is replaced.
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    replace_file(&target, act)
}

/// As [`write_file`], but replaces what has the name, a link or a pipe too.
pub(crate) fn replace_file(
    path: &Path,
    act: impl FnOnce(&mut dyn Write) -> Result<(), ExportError>,
) -> Result<(), ExportError> {
    let temporary = Temporary::create(path)?;
    let file = temporary.file.try_clone().map_err(ExportError::at(path))?;
    fill(file, act)?;
    temporary.file.sync_all().map_err(ExportError::at(path))?;
    temporary.rename_to(path)?;
    sync_directory(path.parent()).map_err(ExportError::at(path))
}

/// Makes a directory, those above it too, and has the disk know them.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| *parent != Path::new("")) {
        make_directory(parent)?;
    }
    match fs::create_dir(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_directory(path.parent()),
    }
}

/// Has the disk know the names in a directory; `None` and nothing stand for where the process is.
fn sync_directory(path: Option<&Path>) -> io::Result<()> {
    let path = path.filter(|path| *path != Path::new(""));
    match File::open(path.unwrap_or(Path::new(".")))?.sync_all() {
        // File systems without disks have nothing to say to this. (fsync(2))
        Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
        other => other,
    }
}

fn fill(
    file: File,
    act: impl FnOnce(&mut dyn Write) -> Result<(), ExportError>,
) -> Result<(), ExportError> {
    let mut output = BufWriter::with_capacity(1 << 17, file);
    act(&mut output)?;
    output.flush().map_err(ExportError::Output)
}

/// A file beside the one it is to replace; deleted unless renamed.
struct Temporary {
    path: PathBuf,
    file: File,
}

impl Temporary {
    fn create(target: &Path) -> Result<Self, ExportError> {
        let name = target.file_name().unwrap_or_default();
        for number in 0.. {
            let mut hidden = OsString::from(".");
            hidden.push(name);
            hidden.push(format!(".{}-{number}", std::process::id()));
            let path = target.with_file_name(hidden);
            match File::create_new(&path) {
                Ok(file) => return Ok(Self { path, file }),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(ExportError::at(target)(error)),
            }
        }
        unreachable!("the counter does not end");
    }

    fn rename_to(self, target: &Path) -> Result<(), ExportError> {
        fs::rename(&self.path, target).map_err(ExportError::at(target))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // A file that was renamed has another name by now; one that was not is of no use.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "old").unwrap();
        let failed = write_file(&path, |output| {
            output.write_all(b"half").map_err(ExportError::Output)?;
            Err(ExportError::ManifestList)
        });
        assert!(matches!(failed, Err(ExportError::ManifestList)));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        write_file(&path, |output| {
            output.write_all(b"new").map_err(ExportError::Output)
        })
        .unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_device_is_written_to_directly() {
        write_file(Path::new("/dev/null"), |output| {
            output.write_all(b"x").map_err(ExportError::Output)
        })
        .unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }
}
