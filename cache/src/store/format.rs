//! The format version of a state directory.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::Path;

use super::open_error::{FORMAT, OpenError};

/// Returns the format of a state directory that this kiln can work with; a new one gets its own.
pub(super) fn check_format(root: &Path) -> Result<u32, OpenError> {
    let path = root.join("format");
    let failed = |source| OpenError::Io {
        path: path.clone(),
        source,
    };
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let lock = open_lock(root);
            lock.map_err(|source| OpenError::Io {
                path: root.join("lock"),
                source,
            })?;
            // Two first kilns may race here; both write the same bytes.
            write_format(root).map_err(failed)?;
            return Ok(FORMAT);
        }
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    let mut start = (&mut file).take(64);
    start.read_to_end(&mut bytes).map_err(failed)?;
    let text = String::from_utf8_lossy(&bytes);
    match text.trim().parse::<u32>() {
        Ok(found @ 1..=FORMAT) => Ok(found),
        Ok(found) => Err(OpenError::Newer {
            path: root.to_owned(),
            found,
        }),
        Err(_) => Err(OpenError::Foreign {
            path: root.to_owned(),
            text: text.trim().chars().take(40).collect(),
        }),
    }
}

/// Writes the format's version, durably: without it nothing else is found.
fn write_format(root: &Path) -> io::Result<()> {
    let temporary = root.join(format!(".format-{}", std::process::id()));
    let mut file = File::create(&temporary)?;
    writeln!(file, "{FORMAT}")?;
    file.sync_all()?;
    fs::rename(&temporary, root.join("format"))?;
    // Names too, and those of the directories that were made for it.
    Ok(rustix::fs::syncfs(File::open(root)?)?)
}

/// Opens the file that is locked. A user who may only read the directory locks it all the same.
pub(super) fn open_lock(root: &Path) -> io::Result<File> {
    let path = root.join("lock");
    let opened = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path);
    match opened {
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied
            ) =>
        {
            File::open(&path)
        }
        other => other,
    }
}

/// Gives a state directory of an earlier format this one, when no kiln is at work any more that
/// may know only the earlier one.
pub(super) fn take_over(root: &Path, lock: &File) -> io::Result<()> {
    lock.lock()?;
    write_format(root)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;

    #[test]
    fn a_newer_format_is_refused_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("format"), "99\n").unwrap();
        let error = Store::open(directory.path()).unwrap_err();
        assert!(
            matches!(error, OpenError::Newer { found: 99, .. }),
            "{error}"
        );
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_older_format_is_taken_over_when_no_kiln_uses_it() {
        let directory = tempfile::tempdir().unwrap();
        let format = directory.path().join("format");
        drop(Store::open(directory.path()).unwrap());
        assert_eq!(fs::read_to_string(&format).unwrap(), "4\n");
        fs::write(&format, "1\n").unwrap();
        let older = File::open(directory.path().join("lock")).unwrap();
        older.lock_shared().unwrap();
        let path = directory.path().to_owned();
        let opening = std::thread::spawn(move || Store::open(&path).map(drop));
        assert_eq!(fs::read_to_string(&format).unwrap(), "1\n");
        older.unlock().unwrap();
        opening.join().unwrap().unwrap();
        assert_eq!(fs::read_to_string(&format).unwrap(), "4\n");
        fs::write(&format, "0\n").unwrap();
        Store::open(directory.path()).unwrap_err();
    }
}
