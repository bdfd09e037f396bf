//! Files that appear whole or not at all, and last: once kiln says that one is written, it survives a
//! loss of power.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat};

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

/// A file on the file system of the one that it is to replace; gone unless renamed.
struct Temporary {
    /// Where it lies. None for one that has no name yet, of which a kill leaves nothing.
    path: Option<PathBuf>,
    file: File,
}

impl Temporary {
    fn create(target: &Path) -> Result<Self, ExportError> {
        if let Some(file) = create_nameless(target) {
            return Ok(Self { path: None, file });
        }
        let made = with_fresh_name(target, |path| File::create_new(path));
        let (path, file) = made.map_err(ExportError::at(target))?;
        Ok(Self {
            path: Some(path),
            file,
        })
    }

    fn rename_to(mut self, target: &Path) -> Result<(), ExportError> {
        if self.path.is_none() {
            // Only a rename replaces a file that has the name already.
            let named = with_fresh_name(target, |path| give_name(&self.file, path));
            let (path, ()) = named.map_err(ExportError::at(target))?;
            self.path = Some(path);
        }
        let path = self.path.as_ref().expect("it has a name by now");
        fs::rename(path, target).map_err(ExportError::at(target))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // A file that was renamed has another name by now; one that was not is of no use.
        if let Some(path) = &self.path {
            let _ = fs::remove_file(path);
        }
    }
}

/// Makes a file without a name; none where the file system cannot, or no name could be given to it
/// later, which takes `/proc` (open(2), `O_TMPFILE`).
fn create_nameless(target: &Path) -> Option<File> {
    let parent = target.parent().filter(|parent| *parent != Path::new(""));
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o666);
    let file = rustix::fs::open(parent.unwrap_or(Path::new(".")), flags, mode).ok()?;
    let has_proc = fs::symlink_metadata(descriptor_path(&file)).is_ok();
    has_proc.then(|| File::from(file))
}

/// Gives a file its first name.
fn give_name(file: &File, path: &Path) -> io::Result<()> {
    let source = descriptor_path(file);
    Ok(linkat(CWD, source, CWD, path, AtFlags::SYMLINK_FOLLOW)?)
}

fn descriptor_path(file: &impl AsRawFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// Has `make` make something by a name beside `target` that nothing has.
fn with_fresh_name<T>(
    target: &Path,
    make: impl Fn(&Path) -> io::Result<T>,
) -> io::Result<(PathBuf, T)> {
    let name = target.file_name().unwrap_or_default();
    for number in 0.. {
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}-{number}", std::process::id()));
        let path = target.with_file_name(hidden);
        match make(&path) {
            Ok(made) => return Ok((path, made)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    unreachable!("the counter does not end");
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
    fn unfinished_file_has_no_name_where_the_file_system_allows_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let names = || fs::read_dir(directory.path()).unwrap().count();
        let is_nameless = create_nameless(&path).is_some();
        write_file(&path, |output| {
            output.write_all(b"half").map_err(ExportError::Output)?;
            assert_eq!(names(), usize::from(!is_nameless));
            Ok(())
        })
        .unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"half");
        assert_eq!(names(), 1);
        // Where it has one, it is as good.
        let (beside, file) = with_fresh_name(&path, |path| File::create_new(path)).unwrap();
        let named = Temporary {
            path: Some(beside),
            file,
        };
        named.rename_to(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
        assert_eq!(names(), 1);
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
