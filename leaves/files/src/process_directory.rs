//! Directories each of which belongs to a running process.
//!
//! Several kilns make directories side by side, and each that starts removes those of kilns that
//! have ended. A process id does not tell which those are: kilns in different process namespaces
//! share a directory, but an id means another process in each. A lock does tell: the kernel releases
//! it when the process ends.
//!
//! ```text
//! <above>/            flock: held by the process that removes directories of ended ones
//! <above>/<pid>-<n>/  flock: exclusive, held by its process; shared, for a moment, by a check
//! ```
//!
//! Names are used again, because process ids are. Two rules make that harmless:
//!
//! * A lock says something of a name only if the name is still that of the directory with the lock.
//! * One process at a time removes what was left behind. Otherwise one that has found a directory
//!   could remove the next one of that name, after another had removed what was found.

use std::ffi::OsStr;
use std::fs::{self, DirEntry, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A directory of this process, for as long as this is held. It is not removed afterwards.
#[derive(Debug)]
pub struct ProcessDirectory {
    path: PathBuf,
    /// Held for its lock.
    _lock: File,
}

impl ProcessDirectory {
    /// Makes a directory below another one. Before that, `remove` removes the directories there of
    /// processes that have ended; the next call finds again what it cannot remove.
    ///
    /// # Errors
    /// When the directory cannot be made or locked.
    pub fn make(above: &Path, remove: impl FnMut(&Path) -> io::Result<()>) -> io::Result<Self> {
        sweep(above, remove);
        let process = std::process::id();
        for number in 0_u64.. {
            let path = above.join(format!("{process}-{number}"));
            match fs::create_dir(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                other => other?,
            }
            // Until it is locked it looks as if it were left behind, and may be removed.
            let lock = match File::open(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                other => other?,
            };
            // A process that checks it in this moment releases its lock soon.
            lock.lock()?;
            if is_at(&lock, &path)? {
                return Ok(Self { path, _lock: lock });
            }
        }
        unreachable!("some number is free")
    }

    /// Returns where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Has `remove` remove the directories of ended processes, unless another process does so now.
fn sweep(above: &Path, remove: impl FnMut(&Path) -> io::Result<()>) {
    let Ok(lock) = File::open(above) else {
        return;
    };
    if lock.try_lock().is_ok() {
        let above = above.to_owned();
        CleanupLock { above, _lock: lock }.sweep(remove);
    }
}

/// The right to remove the directories of ended processes: one process has it at a time.
#[derive(Debug)]
pub struct CleanupLock {
    above: PathBuf,
    _lock: File,
}

impl CleanupLock {
    /// Waits until no other process has it.
    ///
    /// # Errors
    /// When the directory cannot be opened or locked.
    pub fn wait(above: &Path) -> io::Result<Self> {
        let lock = File::open(above)?;
        lock.lock()?;
        Ok(Self {
            above: above.to_owned(),
            _lock: lock,
        })
    }

    /// Has `remove` remove the directories of ended processes.
    pub fn sweep(&self, mut remove: impl FnMut(&Path) -> io::Result<()>) {
        for left in abandoned(&self.above).into_iter().flatten() {
            let _ = remove(&left.path);
        }
    }
}

/// A directory whose process has ended. While this is held, no other process takes it.
#[derive(Debug)]
pub struct Abandoned {
    /// The directory.
    pub path: PathBuf,
    _lock: File,
}

/// Returns the directories of processes that have ended, each locked while the caller looks at it,
/// which must be without delay.
///
/// # Errors
/// When the directory cannot be read.
pub fn abandoned(above: &Path) -> io::Result<impl Iterator<Item = Abandoned>> {
    let entries: Vec<DirEntry> = match fs::read_dir(above) {
        Ok(entries) => entries.collect::<io::Result<_>>()?,
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    Ok(entries.into_iter().filter_map(|entry| {
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !is_directory || !is_ours(&entry.file_name()) {
            return None;
        }
        let path = entry.path();
        let lock = File::open(&path).ok()?;
        // Shared: two who look at once do not take each other for its process.
        let is_free = lock.try_lock_shared().is_ok();
        (is_free && is_at(&lock, &path).unwrap_or(false)).then_some(Abandoned { path, _lock: lock })
    }))
}

/// Says whether something has the name of a process's directory.
fn is_ours(name: &OsStr) -> bool {
    let numbers = name.to_str().and_then(|name| name.split_once('-'));
    numbers.is_some_and(|(process, number)| {
        process.parse::<u32>().is_ok() && number.parse::<u64>().is_ok()
    })
}

/// Says whether an open directory is still what has this name.
fn is_at(directory: &File, path: &Path) -> io::Result<bool> {
    let open = directory.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (open.dev(), open.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remove(path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn make(above: &Path) -> ProcessDirectory {
        ProcessDirectory::make(above, remove).unwrap()
    }

    #[test]
    fn only_directories_without_a_lock_are_removed() {
        let above = tempfile::tempdir().unwrap();
        // The number of no process, as of one in another namespace.
        let [other, left, strange] =
            ["4000000000-0", "4000000001-0", "work"].map(|name| above.path().join(name));
        for directory in [&other, &left, &strange] {
            fs::create_dir(directory).unwrap();
        }
        let held = File::open(&other).unwrap();
        held.lock().unwrap();
        let first = make(above.path());
        let second = make(above.path());
        assert_ne!(first.path(), second.path());
        assert!(other.exists() && strange.exists() && !left.exists());
        assert!(first.path().exists() && second.path().exists());
        let path = first.path().to_owned();
        drop((first, held));
        let third = make(above.path());
        assert!(!other.exists());
        // Its number was free again.
        assert_eq!(third.path(), path);
    }

    #[test]
    fn a_name_that_was_taken_again_is_not_removed() {
        let above = tempfile::tempdir().unwrap();
        let path = above.path().join("4000000000-0");
        fs::create_dir(&path).unwrap();
        let found = File::open(&path).unwrap();
        assert!(is_at(&found, &path).unwrap());
        fs::remove_dir(&path).unwrap();
        assert!(!is_at(&found, &path).unwrap());
        fs::create_dir(&path).unwrap();
        assert!(!is_at(&found, &path).unwrap());
    }

    #[test]
    fn one_process_removes_at_a_time() {
        let above = tempfile::tempdir().unwrap();
        let path = above.path().join("4000000000-0");
        fs::create_dir(&path).unwrap();
        let cleanup = CleanupLock::wait(above.path()).unwrap();
        sweep(above.path(), remove);
        assert!(path.exists());
        cleanup.sweep(remove);
        assert!(!path.exists());
    }

    #[test]
    fn many_make_them_at_the_same_time() {
        let above = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let made = make(above.path());
                        fs::create_dir(made.path().join("in use")).unwrap();
                        fs::remove_dir(made.path().join("in use")).unwrap();
                    }
                });
            }
        });
    }
}
