//! The format version of a state directory, and which kiln may enter it when.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use super::open_error::{FORMAT, OpenError};

/// The time for which a kiln that can wait lets a collector go first, at most: many times what one
/// takes that is not stopped.
const LONGEST_TURN: Duration = Duration::from_secs(1);

/// Whether a collector that waits for the lock of the state directory goes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Entrance {
    /// It does not: for commands that end soon.
    #[default]
    AtOnce,
    /// It does, for a limited time.
    InTurn,
}

/// Returns the format of a state directory that this kiln can work with; a new one gets its own.
pub(super) fn check_format(root: &Path, entrance: Entrance) -> Result<u32, OpenError> {
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
    if entrance == Entrance::InTurn {
        let_others_go_first(&file);
    }
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

/// Waits while a collector holds the lock, but not for ever: it may have been stopped.
fn let_others_go_first(format: &File) {
    let begun = Instant::now();
    while matches!(format.try_lock_shared(), Err(fs::TryLockError::WouldBlock))
        && begun.elapsed() < LONGEST_TURN
    {
        std::thread::sleep(Duration::from_millis(1));
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
        assert_eq!(fs::read_to_string(&format).unwrap(), "3\n");
        fs::write(&format, "1\n").unwrap();
        let older = File::open(directory.path().join("lock")).unwrap();
        older.lock_shared().unwrap();
        let path = directory.path().to_owned();
        let opening = std::thread::spawn(move || Store::open(&path).map(drop));
        assert_eq!(fs::read_to_string(&format).unwrap(), "1\n");
        older.unlock().unwrap();
        opening.join().unwrap().unwrap();
        assert_eq!(fs::read_to_string(&format).unwrap(), "3\n");
        fs::write(&format, "0\n").unwrap();
        Store::open(directory.path()).unwrap_err();
    }

    #[test]
    fn a_collector_that_waits_goes_before_kilns_that_can_wait() {
        let directory = tempfile::tempdir().unwrap();
        drop(Store::open(directory.path()).unwrap());
        let turn = File::open(directory.path().join("format")).unwrap();
        turn.lock().unwrap();
        // A short look goes on all the same.
        drop(Store::open(directory.path()).unwrap());
        std::thread::scope(|scope| {
            let patient =
                scope.spawn(|| Store::enter(directory.path(), Entrance::InTurn).map(drop));
            assert!(!patient.is_finished());
            turn.unlock().unwrap();
            patient.join().unwrap().unwrap();
        });
    }
}
