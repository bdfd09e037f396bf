//! The state directory: its layout, its format version, its locks.
//!
//! What lies where is drawn in docs/store.md, "Layout"; each module says the rest of its own part.
//!
//! Several kilns may work on one state directory at once. Nothing becomes visible before it is
//! whole: it is written in `work/` on the same file system and renamed into place. What a killed
//! kiln leaves there, and how later kilns treat it, is described in the module `work`.
//!
//! Only its owner may use the directory: layers hold set-user-id programs of the owner, and
//! containers know secrets. So kiln refuses a directory of another user, and each time that it opens
//! one it takes away the access of other users and refuses files that they made in it before.

mod format; // the format version
mod open_error; // why the directory cannot be opened
mod ownership; // other users are kept out

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use format::{check_format, open_lock, take_over};
use open_error::FORMAT;
pub use open_error::OpenError;
pub use ownership::check_owner;
use ownership::shut_out_others;

use crate::DiskUsage;
use crate::growth::Growth;
use crate::leases::{Leased, Leases};
use crate::work::{Announcement, Unsettled, WorkRoot};
use kiln_files::remove_tree;
use kiln_threads::Stop;

/// An open state directory.
///
/// Cheap to clone. While any clone lives, no other kiln collects garbage, or none of what this
/// process holds: see [`Store::admit_collection`].
#[derive(Clone, Debug)]
pub struct Store {
    shared: Arc<SharedStore>,
}

#[derive(Debug)]
struct SharedStore {
    root: PathBuf,
    /// Held for its lock.
    lock: File,
    work: WorkRoot,
    leases: Leases,
    stop: Stop,
    done: AtomicU64,
    growth: Growth,
}

impl Drop for SharedStore {
    fn drop(&mut self) {
        // Then the disk has to say it.
        let _ = self.growth.settle();
        self.leases.end();
    }
}

impl Store {
    /// Opens the state directory at `root`, making it if there is none.
    ///
    /// # Errors
    /// When it belongs to a newer kiln or to another user, is no state directory, or cannot be read.
    pub fn open(root: &Path) -> Result<Self, OpenError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Io { path, source }
        };
        if !root.join("format").exists() {
            let made = fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(root);
            made.map_err(|error| match error.kind() {
                ErrorKind::AlreadyExists | ErrorKind::NotADirectory => OpenError::NotDirectory {
                    path: root.to_owned(),
                },
                _ => failed(root)(error),
            })?;
        }
        let root = root.canonicalize().map_err(failed(root))?;
        shut_out_others(&root)?;
        let found = check_format(&root)?;
        let lock = open_lock(&root).map_err(failed(&root.join("lock")))?;
        if found < FORMAT {
            take_over(&root, &lock).map_err(failed(&root))?;
        }
        lock.lock_shared().map_err(failed(&root))?;
        tracing::debug!(root = %root.display(), "the state directory is open");
        let leases = Leases::new(&root, &lock).map_err(failed(&root.join("leases")))?;
        kiln_files::spill_into(&root);
        let work = WorkRoot::new(&root);
        let growth = Growth::new(&root);
        Ok(Self {
            shared: Arc::new(SharedStore {
                root,
                lock,
                work,
                leases,
                stop: Stop::default(),
                done: AtomicU64::new(0),
                growth,
            }),
        })
    }

    /// Counts what this process adds to the state directory for good.
    pub fn grow(&self, usage: DiskUsage) {
        self.shared.growth.add(usage);
    }

    /// Returns what was added since [`Store::forget_growth`], as far as processes ended orderly.
    #[must_use]
    pub fn growth(&self) -> DiskUsage {
        self.shared.growth.total()
    }

    /// Begins to count anew, before an inventory is taken.
    ///
    /// # Errors
    /// When that cannot be noted.
    pub fn forget_growth(&self) -> io::Result<()> {
        self.shared.growth.forget()
    }

    /// Counts files that were looked at, made or deleted, for who shows how far something has got.
    pub fn count(&self, files: u64) {
        self.shared.done.fetch_add(files, Ordering::Relaxed);
    }

    /// Returns how many files were counted so far.
    #[must_use]
    pub fn counted(&self) -> u64 {
        self.shared.done.load(Ordering::Relaxed)
    }

    /// Returns the state directory's canonical path.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.shared.root
    }

    /// Returns the request to stop, which is checked wherever many bytes move into the state
    /// directory or out of it.
    #[must_use]
    pub fn stop(&self) -> &Stop {
        &self.shared.stop
    }

    /// Returns the path of a file or directory below the root.
    #[must_use]
    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.shared.root.join(relative)
    }

    /// Makes an empty directory in `work/` that lives until the value is dropped. What is made there
    /// takes time, so it admits collection.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn work_dir(&self) -> io::Result<WorkDir> {
        self.admit_collection();
        Ok(WorkDir {
            path: self.shared.work.make()?,
            _store: self.clone(),
        })
    }

    /// Returns an unused path in `work/` for a file to be written and renamed into place.
    ///
    /// # Errors
    /// When this process's part of `work/` cannot be made.
    pub fn work_file(&self) -> io::Result<PathBuf> {
        self.shared.work.fresh()
    }

    /// Announces a blob or layer that gets its name while the value lives.
    ///
    /// # Errors
    /// When the announcement cannot be made: then the object must not get its name.
    pub fn announce(&self, what: Unsettled) -> io::Result<Announcement<'_>> {
        self.shared.work.announce(what)
    }

    /// Says that something else than blobs and layers must be on disk after the next settling.
    pub fn owe(&self) {
        self.shared.work.owe();
    }

    /// Has everything written that was made: after it a loss of power takes none of it away. Costs
    /// nothing if nothing was made.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn settle(&self) -> io::Result<()> {
        self.shared.work.settle()
    }

    /// Returns what kilns left behind that were killed or lost their power, and that may be damaged.
    ///
    /// # Errors
    /// When `work/` cannot be read.
    pub fn left_behind(&self) -> io::Result<BTreeSet<Unsettled>> {
        self.shared.work.left_behind()
    }

    /// Has `judge` look at what was left behind, in one kiln at a time. It returns what can be
    /// trusted now or is gone; the rest is left to the next kiln.
    ///
    /// # Errors
    /// What `judge` or the locking returns.
    pub fn recover(
        &self,
        judge: impl FnOnce(&BTreeSet<Unsettled>) -> io::Result<BTreeSet<Unsettled>>,
    ) -> io::Result<()> {
        self.shared.work.recover(judge)
    }

    /// Notes that this kiln uses something from now on: it is not collected before this process ends.
    /// Whether it is there has to be looked at afterwards.
    pub fn hold(&self, what: impl Into<Leased>) {
        self.shared.leases.hold(&self.shared.lock, what.into());
    }

    /// Lets others collect garbage beside this process from now on, except what it holds. To be
    /// called before anything that can take longer than some ten milliseconds. Where that cannot be
    /// written down, they wait for this process to end.
    pub fn admit_collection(&self) {
        let _ = self.shared.leases.admit(&self.shared.lock);
    }

    pub(crate) fn leases(&self) -> &Leases {
        &self.shared.leases
    }

    /// Says whether this process has the lock of the state directory for itself now.
    pub(crate) fn try_lock(&self) -> io::Result<bool> {
        match self.shared.lock.try_lock() {
            Ok(()) => {
                self.shared.leases.set_alone(true);
                Ok(true)
            }
            Err(fs::TryLockError::WouldBlock) => Ok(false),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    /// Lets go of the lock of the state directory.
    pub(crate) fn unlock(&self) -> io::Result<()> {
        self.shared.lock.unlock()
    }

    /// Shares the lock of the state directory with others again, or lets go of it if this process
    /// admits collection.
    pub(crate) fn lock_as_before(&self) -> io::Result<()> {
        self.shared.leases.set_alone(false);
        if self.shared.leases.are_written() {
            self.shared.lock.unlock()
        } else {
            self.shared.lock.lock_shared()
        }
    }

    /// Lists `<directory>/<two digits>/<name>`, the form of all that is addressed by a digest.
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

/// A directory for something unfinished, deleted with everything in it when dropped. It holds the
/// state directory open.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_directory_is_made_for_its_user_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("share/kiln");
        let store = Store::open(&root).unwrap();
        assert_eq!(store.root(), root);
        let mode = fs::metadata(root).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o700);
    }

    #[test]
    fn files_addressed_by_digests_are_listed() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        assert_eq!(store.spread_files("layers").unwrap(), []);
        for file in ["layers/ab/abcd", "layers/00/0000", "layers/README"] {
            let path = store.path(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let mut found = store.spread_files("layers").unwrap();
        found.sort();
        assert_eq!(
            found,
            [("layers/00/0000", "0000"), ("layers/ab/abcd", "abcd")]
                .map(|(path, name)| (store.path(path), name.to_owned()))
        );
        // What is no directory is no empty one.
        assert!(store.spread_files("layers/README").is_err());
    }

    #[test]
    fn clones_of_a_store_stop_together() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let other = store.clone();
        assert!(other.stop().check().is_ok());
        store.stop().ask();
        assert!(other.stop().check().is_err());
    }
}
