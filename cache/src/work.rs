//! Unfinished files, and durability: what has its name but is perhaps not on disk yet.
//!
//! ```text
//! work/<pid>-<n>/              all of one kiln, which holds a lock on it
//! work/<pid>-<n>/<number>      a file or directory that is being written
//! work/<pid>-<n>/blob-<hex>    empty: this blob has its name, but its bytes may be in memory only
//! work/<pid>-<n>/layer-<hex>   likewise a layer
//! ```
//!
//! File systems write contents when it suits them, but names in the order in which they were given
//! (ext4, XFS and btrfs do). So a kiln *announces* a blob or a layer, by a file in its work
//! directory, before it gives it its name: after a loss of power there may be an announcement
//! without an object, never an object without its announcement. *Settling* writes everything to
//! disk, by one `syncfs`, and removes the announcements. A kiln settles before it moves a tag, and
//! before it tells the user that it is done; one that made nothing writes nothing.
//!
//! A kiln that is killed, or loses its power, leaves a directory without a lock. Objects
//! announced there cannot be trusted: the next kiln compares them with their digests before it does
//! anything else. All other unfinished files are deleted.
//!
//! Small files from which a reader can tell whether they are whole (records, facts, notes) are not
//! announced: half of one counts as none.
//!
//! # Limitations
//!
//! On a file system that may lose the name of an older file and keep that of a younger one, nothing
//! is promised.

use std::collections::BTreeSet;
use std::fs::{self, DirEntry, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kiln_files::{CleanupLock, ProcessDirectory, abandoned, remove_tree};
use kiln_oci::Sha256;
use kiln_tree::LayerId;

/// Something that has its name, but whose bytes may not be on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unsettled {
    /// A blob.
    Blob(Sha256),
    /// A layer.
    Layer(LayerId),
}

impl Unsettled {
    fn file_name(self) -> String {
        match self {
            Self::Blob(digest) => format!("blob-{}", digest.hex()),
            Self::Layer(id) => format!("layer-{id}"),
        }
    }

    fn of_file_name(name: &str) -> Option<Self> {
        let (kind, hex) = name.split_once('-')?;
        match kind {
            "blob" => Sha256::from_hex(hex).ok().map(Self::Blob),
            "layer" => hex.parse().ok().map(Self::Layer),
            _ => None,
        }
    }
}

/// This process's part of `work/`: a directory made on first use, with a lock held on it.
#[derive(Debug)]
pub(crate) struct WorkRoot {
    root: PathBuf,
    work: PathBuf,
    own: Mutex<Option<ProcessDirectory>>,
    next: AtomicU64,
    owed: Mutex<Owed>,
}

/// The objects that got their names since the last settling.
#[derive(Debug, Default)]
struct Owed {
    /// Announcements of objects that have their names now.
    announced: Vec<PathBuf>,
    /// Whether there is something else that a user will be told of.
    is_more: bool,
}

impl Owed {
    fn is_nothing(&self) -> bool {
        self.announced.is_empty() && !self.is_more
    }
}

impl WorkRoot {
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            work: root.join("work"),
            own: Mutex::new(None),
            next: AtomicU64::new(0),
            owed: Mutex::default(),
        }
    }

    /// Returns an unused path below this process's directory.
    pub(crate) fn fresh(&self) -> io::Result<PathBuf> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Ok(self.directory()?.join(number.to_string()))
    }

    /// Makes an unused directory, and returns its path.
    pub(crate) fn make(&self) -> io::Result<PathBuf> {
        let path = self.fresh()?;
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(path)
    }

    /// Announces what is about to get its name, which it must have when the value is dropped.
    pub(crate) fn announce(&self, what: Unsettled) -> io::Result<Announcement<'_>> {
        let path = self.directory()?.join(what.file_name());
        File::create(&path)?;
        Ok(Announcement { work: self, path })
    }

    /// Notes that something else has to be on disk before a user is told of it.
    pub(crate) fn owe(&self) {
        lock(&self.owed).is_more = true;
    }

    /// Has everything written that this process named, or another one whose results may have been
    /// used.
    pub(crate) fn settle(&self) -> io::Result<()> {
        let owed = std::mem::take(&mut *lock(&self.owed));
        if owed.is_nothing() && !self.do_others_owe()? {
            Ok(())
        } else {
            self.write_out(owed)
        }
    }

    fn write_out(&self, mut owed: Owed) -> io::Result<()> {
        if let Err(error) = sync(&self.root) {
            let mut later = lock(&self.owed);
            later.announced.append(&mut owed.announced);
            later.is_more = true;
            return Err(error);
        }
        for path in owed.announced {
            // One that stays costs the next kiln a look.
            let _ = fs::remove_file(path);
        }
        Ok(())
    }

    fn do_others_owe(&self) -> io::Result<bool> {
        let own = lock(&self.own);
        let own = own.as_ref().map(ProcessDirectory::path);
        let mut others = entries(&self.work)?
            .into_iter()
            .map(|entry| entry.path())
            .filter(|path| Some(path.as_path()) != own);
        Ok(others.any(|other| !announced_in(&other).is_empty()))
    }

    /// Returns what kilns announced that are no more.
    pub(crate) fn left_behind(&self) -> io::Result<BTreeSet<Unsettled>> {
        let mut found = BTreeSet::new();
        for left in abandoned(&self.work)? {
            found.extend(announced_in(&left.path));
        }
        Ok(found)
    }

    /// Has `judge` look at what other kilns left behind; what it returns can be trusted then, or is
    /// gone. One kiln does this at a time, and those that come meanwhile wait.
    pub(crate) fn recover(
        &self,
        judge: impl FnOnce(&BTreeSet<Unsettled>) -> io::Result<BTreeSet<Unsettled>>,
    ) -> io::Result<()> {
        let cleanup = CleanupLock::wait(&self.work)?;
        let left = self.left_behind()?;
        if left.is_empty() {
            return Ok(());
        }
        let judged = judge(&left)?;
        // What a killed kiln left may still be in memory.
        sync(&self.root)?;
        cleanup.sweep(|directory| {
            for what in &judged {
                let _ = fs::remove_file(directory.join(what.file_name()));
            }
            delete_unfinished(directory)
        });
        Ok(())
    }

    fn directory(&self) -> io::Result<PathBuf> {
        let mut own = lock(&self.own);
        if let Some(own) = &*own {
            return Ok(own.path().to_owned());
        }
        fs::create_dir_all(&self.work)?;
        let made = ProcessDirectory::make(&self.work, delete_unfinished)?;
        let directory = made.path().to_owned();
        *own = Some(made);
        Ok(directory)
    }
}

impl Drop for WorkRoot {
    fn drop(&mut self) {
        // This process tells no user of anything any more; other kilns settle what they made.
        let owed = std::mem::take(&mut *lock(&self.owed));
        let is_settled = owed.is_nothing() || self.write_out(owed).is_ok();
        if let Some(own) = lock(&self.own).take() {
            // What cannot be deleted now is deleted by the next kiln, and what could not be written
            // is looked at by it.
            let _ = if is_settled {
                remove_tree(own.path())
            } else {
                delete_unfinished(own.path())
            };
        }
    }
}

/// Something that was announced and is getting its name.
#[derive(Debug)]
pub struct Announcement<'a> {
    work: &'a WorkRoot,
    path: PathBuf,
}

impl Drop for Announcement<'_> {
    fn drop(&mut self) {
        // Only now does a settling that begins cover what was announced.
        let path = std::mem::take(&mut self.path);
        lock(&self.work.owed).announced.push(path);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has everything written that the file system of `root` has in memory.
fn sync(root: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(root)?)?)
}

fn entries(directory: &Path) -> io::Result<Vec<DirEntry>> {
    match fs::read_dir(directory) {
        Ok(entries) => entries.collect(),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Returns what is announced in a directory in `work/`.
fn announced_in(directory: &Path) -> BTreeSet<Unsettled> {
    let names = entries(directory).unwrap_or_default();
    let names = names.iter().map(DirEntry::file_name);
    names
        .filter_map(|name| Unsettled::of_file_name(name.to_str()?))
        .collect()
}

/// Deletes a directory in `work/`, but for what is announced in it.
fn delete_unfinished(directory: &Path) -> io::Result<()> {
    let mut is_empty = true;
    for entry in entries(directory)? {
        let name = entry.file_name();
        if name.to_str().and_then(Unsettled::of_file_name).is_some() {
            is_empty = false;
            continue;
        }
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    if is_empty {
        fs::remove_dir(directory)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Blobs, Store};
    use kiln_tree::Blake3;

    fn announced(store: &Store) -> BTreeSet<Unsettled> {
        let works = entries(&store.path("work")).unwrap();
        works
            .iter()
            .flat_map(|work| announced_in(&work.path()))
            .collect()
    }

    #[test]
    fn entries_of_a_missing_directory_are_none_and_of_a_file_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("work");
        assert!(entries(&path).unwrap().is_empty());
        fs::write(&path, "").unwrap();
        assert!(entries(&path).is_err());
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
    fn new_objects_are_announced_until_they_are_settled() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        store.settle().unwrap();
        assert!(
            !store.path("work").exists(),
            "nothing made, nothing written"
        );
        let blob = Unsettled::Blob(Blobs::new(&store).put(b"blob").unwrap());
        let layer = Unsettled::Layer(LayerId(Blake3::of(b"layer")));
        drop(store.announce(layer).unwrap());
        assert_eq!(announced(&store), BTreeSet::from([blob, layer]));
        // What gets its name while others settle is not covered.
        let late = Unsettled::Blob(Sha256::of(b"late"));
        let naming = store.announce(late).unwrap();
        store.settle().unwrap();
        assert_eq!(announced(&store), BTreeSet::from([late]));
        drop(naming);
        drop(store);
        let store = Store::open(directory.path()).unwrap();
        assert_eq!(announced(&store), BTreeSet::new());
    }

    #[test]
    fn an_owed_write_settles_without_announcements() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        // Without its directory the store cannot be written out, and does not have to be.
        directory.close().unwrap();
        store.settle().unwrap();
        store.owe();
        store.settle().unwrap_err();
        store.settle().unwrap_err();
    }

    #[test]
    fn announcements_of_a_dead_kiln_are_judged_once() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let [one, two] = [b"1", b"2"].map(|bytes| Unsettled::Blob(Sha256::of(bytes)));
        let dead = store.path("work/1-0");
        fs::create_dir_all(dead.join("7")).unwrap();
        for what in [one, two] {
            fs::write(dead.join(what.file_name()), "").unwrap();
        }
        // A living one is trusted, and what is left behind survives the sweep of unfinished work.
        let living = Store::open(directory.path()).unwrap();
        drop(living.announce(Unsettled::Blob(Sha256::of(b"3"))).unwrap());
        assert_eq!(store.left_behind().unwrap(), BTreeSet::from([one, two]));
        assert!(!dead.join("7").exists());
        store
            .recover(|left| {
                assert_eq!(*left, BTreeSet::from([one, two]));
                Ok(BTreeSet::from([one]))
            })
            .unwrap();
        assert_eq!(store.left_behind().unwrap(), BTreeSet::from([two]));
        store.recover(|left| Ok(left.clone())).unwrap();
        assert!(!dead.exists());
        store.recover(|_| panic!("nothing is left")).unwrap();
    }
}
