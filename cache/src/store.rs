//! The state directory: its layout, its format version, its locks.
//!
//! ```text
//! format                   the version of everything below
//! lock                     flock: shared while a kiln is open, exclusive to collect garbage and
//!                          to take over an older format
//! blobs/sha256/ab/…        bytes by SHA-256: manifests, configs, compressed layers; beside a
//!                          layer, in <digest>.sources, the repositories known to have it
//! actions/ab/…             ActionKey -> record
//! tombstones               a line for each record that was evicted: when and why
//! layers/ab/<layer id>/    index, facts, and (when unpacked) the diff directory
//! diffs/<diff id>          -> layer id
//! described/<layer id>     a layer that another machine made: its tar, and a blob elsewhere
//! refs/<host>/<path>/…     names -> manifest digest
//! pins/<host>/<path>/…     base names as builds resolved them -> manifest digest
//! images/<id>              -> manifest digest, for every image that is here
//! assembled/ab/…           what an image is made of -> manifest digest
//! cachemounts/<key>/       directories of RUN --mount=type=cache
//! contexts/<hash>          stat indexes of build contexts
//! builds/<place>-<variant> what the last build of each definition did, and why
//! downloads/ab/…           what URLs stood for: validators, and the digest of a blob
//! git/<hash>/              what was fetched of a repository, bare; git/known_hosts, the keys of
//!                          ssh servers met
//! containers/<id>/         containers
//! mounts/                  where sandboxes mount what only they see
//! locks/ab/…               one flock per running action
//! trash/                   what was evicted and is not deleted yet
//! collected                when garbage was collected last: its modification time
//! work/<pid>-<n>/          whatever is not finished
//! ```
//!
//! Several kilns may work on one state directory at once. Nothing becomes visible before it is
//! whole: it is written in `work/` on the same file system and renamed into place. A killed kiln
//! leaves nothing but a directory in `work/` that nobody holds a lock on; the next one deletes it.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The version of the layout above and of every encoding below it.
///
/// 2: a layer's files may lie on those of another (`upon`). What is there in format 1 is as good in
/// this one.
const FORMAT: u32 = 2;

/// Why a state directory cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It was written by a newer kiln.
    #[error("state directory {path} has format {found}, this kiln knows up to {FORMAT}")]
    Newer {
        /// The state directory.
        path: PathBuf,
        /// Its format version.
        found: u32,
    },
    /// Its `format` file is not a number.
    #[error("{path} is not a kiln state directory: its `format` file reads {text:?}")]
    Foreign {
        /// The state directory.
        path: PathBuf,
        /// What the file says.
        text: String,
    },
    /// A file operation failed.
    #[error("state directory {path}")]
    Io {
        /// The path that the operation was about.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}

/// An open state directory.
///
/// Cheap to clone. While any clone lives, this process holds a shared lock on the directory, so
/// nobody collects garbage under its feet.
#[derive(Clone, Debug)]
pub struct Store {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    root: PathBuf,
    /// Held for its lock.
    lock: File,
    work: WorkRoot,
}

impl Store {
    /// Opens the state directory at `root`, making it if there is none.
    ///
    /// # Errors
    /// When it belongs to a newer kiln, is something else, or cannot be written.
    pub fn open(root: &Path) -> Result<Self, OpenError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Io { path, source }
        };
        if !root.join("format").exists() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(root)
                .map_err(failed(root))?;
        }
        let root = root.canonicalize().map_err(failed(root))?;
        let found = check_format(&root)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(root.join("lock"))
            .map_err(failed(&root))?;
        if found < FORMAT {
            take_over(&root, &lock).map_err(failed(&root))?;
        }
        lock.lock_shared().map_err(failed(&root))?;
        let work = WorkRoot::new(&root).map_err(failed(&root))?;
        Ok(Self {
            shared: Arc::new(Shared { root, lock, work }),
        })
    }

    /// Returns the state directory's canonical path.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.shared.root
    }

    /// Returns the path of a file or directory below the root.
    #[must_use]
    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.shared.root.join(relative)
    }

    /// Makes an empty directory in `work/` that lives until the value is dropped.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn work_dir(&self) -> io::Result<WorkDir> {
        self.shared.work.make(self.clone())
    }

    /// Returns an unused path in `work/` for a file to be written and renamed into place.
    ///
    /// # Errors
    /// When this process's part of `work/` cannot be made.
    pub fn work_file(&self) -> io::Result<PathBuf> {
        self.shared.work.fresh()
    }

    /// Runs `act` while no other kiln has the state directory open, and lets others in again.
    /// Returns none, without running it, if others have it open now.
    ///
    /// # Errors
    /// What `act` or the locking returns.
    pub fn exclusively<T>(&self, act: impl FnOnce() -> io::Result<T>) -> io::Result<Option<T>> {
        // flock converts a shared lock in two steps (flock(2)), so another process may slip in
        // between; `act` runs only once the exclusive one is held.
        match self.shared.lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                self.shared.lock.lock_shared()?;
                return Ok(None);
            }
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
        let result = act();
        self.shared.lock.lock_shared()?;
        result.map(Some)
    }

    /// As [`Store::exclusively`], but waits for the others to end; calls `waiting` if there are any.
    ///
    /// # Errors
    /// What `act` or the locking returns.
    pub fn exclusively_at_last<T>(
        &self,
        waiting: impl FnOnce(),
        act: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        match self.shared.lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                waiting();
                // Two who wait for each other cannot: each lets go of its shared lock first.
                self.shared.lock.lock()?;
            }
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
        let result = act();
        self.shared.lock.lock_shared()?;
        result
    }

    /// Lists `<directory>/<two digits>/<name>`, the form of whatever is addressed by a digest.
    ///
    /// # Errors
    /// When a directory cannot be read.
    pub fn spread_files(&self, directory: &str) -> io::Result<Vec<(PathBuf, String)>> {
        let list = |path: &Path| match fs::read_dir(path) {
            Ok(entries) => entries.collect::<io::Result<Vec<_>>>(),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        };
        let mut found = Vec::new();
        for group in list(&self.path(directory))? {
            if !group.file_type()?.is_dir() {
                continue;
            }
            for entry in list(&group.path())? {
                if let Ok(name) = entry.file_name().into_string() {
                    found.push((entry.path(), name));
                }
            }
        }
        Ok(found)
    }
}

/// Returns the format of a state directory that this kiln can work with; a new one gets its own.
fn check_format(root: &Path) -> Result<u32, OpenError> {
    let path = root.join("format");
    let failed = |source| OpenError::Io {
        path: path.clone(),
        source,
    };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // Two first kilns may race here; both write the same bytes.
            write_format(root).map_err(failed)?;
            return Ok(FORMAT);
        }
        Err(error) => return Err(failed(error)),
    };
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

fn write_format(root: &Path) -> io::Result<()> {
    let temporary = root.join(format!(".format-{}", std::process::id()));
    fs::write(&temporary, format!("{FORMAT}\n"))?;
    fs::rename(&temporary, root.join("format"))
}

/// Gives a state directory of an earlier format this one, when no kiln is at work any more that
/// may know only the earlier one.
fn take_over(root: &Path, lock: &File) -> io::Result<()> {
    lock.lock()?;
    write_format(root)
}

/// This process's part of `work/`: a directory made on first use, with a lock held on it.
#[derive(Debug)]
struct WorkRoot {
    work: PathBuf,
    own: std::sync::Mutex<Option<(PathBuf, File)>>,
    next: AtomicU64,
}

impl WorkRoot {
    fn new(root: &Path) -> io::Result<Self> {
        Ok(Self {
            work: root.join("work"),
            own: std::sync::Mutex::new(None),
            next: AtomicU64::new(0),
        })
    }

    /// Returns an unused path below this process's directory.
    fn fresh(&self) -> io::Result<PathBuf> {
        let mut own = self
            .own
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let directory = match &*own {
            Some((directory, _)) => directory.clone(),
            None => {
                fs::create_dir_all(&self.work)?;
                delete_abandoned(&self.work);
                let made = self.claim()?;
                let directory = made.0.clone();
                *own = Some(made);
                directory
            }
        };
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Ok(directory.join(number.to_string()))
    }

    /// Makes `<pid>-<n>` and locks it. Process ids recur (and differ between pid namespaces), so a
    /// name may be taken; and between making and locking it another kiln may take it for
    /// abandoned and delete it, which shows in its link count.
    fn claim(&self) -> io::Result<(PathBuf, File)> {
        for number in 0.. {
            let path = self.work.join(format!("{}-{number}", std::process::id()));
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            }
            let Ok(handle) = File::open(&path) else {
                continue;
            };
            if handle.try_lock().is_ok() && path.exists() {
                return Ok((path, handle));
            }
        }
        unreachable!("the counter does not end");
    }

    fn make(&self, store: Store) -> io::Result<WorkDir> {
        let path = self.fresh()?;
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(WorkDir {
            path,
            _store: store,
        })
    }
}

impl Drop for WorkRoot {
    fn drop(&mut self) {
        let own = self
            .own
            .get_mut()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((directory, _lock)) = own.take() {
            // What cannot be deleted now is deleted by the next kiln.
            let _ = remove_tree(&directory);
        }
    }
}

/// Deletes the directories in `work/` that no process holds a lock on.
fn delete_abandoned(work: &Path) {
    let Ok(entries) = fs::read_dir(work) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(handle) = File::open(&path) else {
            continue;
        };
        if handle.try_lock().is_ok() {
            let _ = remove_tree(&path);
        }
    }
}

/// A directory for something unfinished, deleted with everything in it when dropped.
#[derive(Debug)]
pub struct WorkDir {
    path: PathBuf,
    _store: Store,
}

impl WorkDir {
    /// Returns its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        // What cannot be deleted now is deleted by the next kiln.
        let _ = remove_tree(&self.path);
    }
}

/// Deletes a directory with everything in it, directories without permissions too.
///
/// Symbolic links are deleted, never followed.
///
/// # Errors
/// When something cannot be deleted.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            open_directories(path)?;
            fs::remove_dir_all(path)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Gives the owner full access to every directory below `path`; only the owner's processes see it.
fn open_directories(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    if !fs::symlink_metadata(path)?.is_dir() {
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_directories(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn an_older_format_is_taken_over_when_nobody_works_on_it() {
        let directory = tempfile::tempdir().unwrap();
        let format = directory.path().join("format");
        drop(Store::open(directory.path()).unwrap());
        assert_eq!(fs::read_to_string(&format).unwrap(), "2\n");
        fs::write(&format, "1\n").unwrap();
        let older = File::open(directory.path().join("lock")).unwrap();
        older.lock_shared().unwrap();
        let path = directory.path().to_owned();
        let opening = std::thread::spawn(move || Store::open(&path).map(drop));
        assert_eq!(fs::read_to_string(&format).unwrap(), "1\n");
        older.unlock().unwrap();
        opening.join().unwrap().unwrap();
        assert_eq!(fs::read_to_string(&format).unwrap(), "2\n");
        fs::write(&format, "0\n").unwrap();
        Store::open(directory.path()).unwrap_err();
    }

    #[test]
    fn who_wants_it_alone_waits_for_the_others() {
        let directory = tempfile::tempdir().unwrap();
        let one = Store::open(directory.path()).unwrap();
        let two = Store::open(directory.path()).unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        let alone = std::thread::spawn(move || {
            let waiting = || sender.send(()).unwrap();
            one.exclusively_at_last(waiting, || Ok(())).unwrap();
            // It lets others in again.
            Store::open(one.root()).unwrap();
        });
        receiver.recv().unwrap();
        assert!(!alone.is_finished());
        drop(two);
        alone.join().unwrap();
    }

    #[test]
    fn unfinished_work_vanishes_with_its_owner() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let work = store.work_dir().unwrap();
        fs::create_dir_all(work.path().join("a/b")).unwrap();
        let path = work.path().to_owned();
        drop(work);
        assert!(!path.exists());
        drop(store);
        assert_eq!(
            fs::read_dir(directory.path().join("work")).unwrap().count(),
            0
        );
    }

    #[test]
    fn abandoned_work_is_deleted_and_living_work_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let living = Store::open(directory.path()).unwrap();
        let work = living.work_dir().unwrap();
        let abandoned = directory.path().join("work/999999-0");
        fs::create_dir_all(abandoned.join("x")).unwrap();
        let other = Store::open(directory.path()).unwrap();
        let _own = other.work_dir().unwrap();
        assert!(!abandoned.exists());
        assert!(work.path().exists());
    }

    #[test]
    fn exclusive_use_waits_for_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let one = Store::open(directory.path()).unwrap();
        assert_eq!(one.exclusively(|| Ok(1)).unwrap(), Some(1));
        let two = Store::open(directory.path()).unwrap();
        assert_eq!(one.exclusively(|| Ok(1)).unwrap(), None);
        drop(two);
        assert_eq!(one.exclusively(|| Ok(1)).unwrap(), Some(1));
    }
}
