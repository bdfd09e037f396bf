//! A collection of garbage in progress: what others use is spared, and they hardly notice.
//!
//! How it and the kilns beside it keep out of each other's way is said in the module `leases`.

use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::Store;
use crate::claim::is_at;
use crate::leases::Leased;

/// How often a collector looks whether the lock is free.
const GLANCE: Duration = Duration::from_micros(500);

/// After this it says that it waits.
const SILENCE: Duration = Duration::from_millis(200);

/// For how long a collector waits for other kilns.
#[expect(
    missing_debug_implementations,
    reason = "a function has nothing to show"
)]
pub enum Patience<'a> {
    /// Until they end; the function is called when that takes long.
    Endless(&'a dyn Fn()),
    /// For so long.
    Limited(Duration),
}

/// The right to collect garbage, which one process has at a time.
#[derive(Debug)]
pub struct Collection<'a> {
    store: &'a Store,
    /// Held for its lock.
    marker: File,
    path: PathBuf,
}

/// What has to stay because other kilns use it.
#[derive(Clone, Debug, Default)]
pub struct InUse(HashSet<Leased>);

impl InUse {
    /// Says whether a kiln uses this.
    #[must_use]
    pub fn contains(&self, what: &Leased) -> bool {
        self.0.contains(what)
    }
}

impl Store {
    /// Begins to collect garbage. Everything that has a name now will be found by an inventory that
    /// is taken from now on; what gets one later is named by a lease. None if others let nobody collect
    /// for longer than `patience` says, or collect garbage themselves.
    ///
    /// # Errors
    /// When the state directory cannot be locked or written.
    pub fn begin_collection(&self, patience: &Patience<'_>) -> io::Result<Option<Collection<'_>>> {
        let begun = Instant::now();
        let mut is_told = false;
        let mut made = None;
        loop {
            // From here on kilns that start admit collection, so that only earlier ones are waited for.
            if made.is_none() {
                made = self.make_marker()?;
            }
            if let Some(marker) = made.take_if(|_| self.try_lock().unwrap_or(false)) {
                // What these named is found by the inventory.
                let cleared = self.leases().of_others(|ended| {
                    let _ = fs::remove_file(ended);
                });
                self.lock_as_before()?;
                let collection = Collection {
                    store: self,
                    path: self.leases().marker(),
                    marker,
                };
                return cleared.map(|_| Some(collection));
            }
            let stopped = self.stop().check();
            let is_over = match patience {
                Patience::Limited(limit) => begun.elapsed() >= *limit,
                Patience::Endless(waiting) => {
                    if !is_told && begun.elapsed() >= SILENCE {
                        waiting();
                        is_told = true;
                    }
                    false
                }
            };
            if is_over || stopped.is_err() {
                if made.is_some() {
                    let _ = fs::remove_file(self.leases().marker());
                }
                self.lock_as_before()?;
                return stopped.map(|()| None);
            }
            std::thread::sleep(GLANCE);
        }
    }

    /// Says that garbage is collected; none if another kiln does so.
    fn make_marker(&self) -> io::Result<Option<File>> {
        let path = self.leases().marker();
        let marker = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)?;
        match marker.try_lock() {
            // Another collector may have ended in between, and removed it.
            Ok(()) => Ok(is_at(&marker, &path)?.then_some(marker)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Collection<'_> {
    /// Returns what others use. More may be in use when something goes: see [`Collection::remove`].
    ///
    /// # Errors
    /// When a lease cannot be read.
    pub fn in_use(&self) -> io::Result<InUse> {
        self.remove(|in_use| Ok(in_use.clone()))
    }

    /// Runs `act`, which removes what is not in use, while nobody can begin to use anything: it has to
    /// be short, and renames what takes long to delete.
    ///
    /// # Errors
    /// What `act` returns; [`ErrorKind::Interrupted`] if a kiln called the collection off.
    pub fn remove<T>(&self, act: impl FnOnce(&InUse) -> io::Result<T>) -> io::Result<T> {
        self.store.lock_exclusively()?;
        let result = self.look(act);
        self.store.lock_as_before()?;
        result
    }

    fn look<T>(&self, act: impl FnOnce(&InUse) -> io::Result<T>) -> io::Result<T> {
        if !is_at(&self.marker, &self.path)? {
            let why = "a kiln that finds no room on the disk called the collection off";
            return Err(io::Error::new(ErrorKind::Interrupted, why));
        }
        let in_use = InUse(self.store.leases().of_others(|_| {})?);
        act(&in_use)
    }
}

impl Drop for Collection<'_> {
    fn drop(&mut self) {
        // What cannot be removed now, the next collector removes.
        let _ = self.store.lock_exclusively();
        if is_at(&self.marker, &self.path).is_ok_and(|is_on| is_on) {
            let _ = fs::remove_file(&self.path);
        }
        let _ = self.store.leases().of_others(|ended| {
            let _ = fs::remove_file(ended);
        });
        let _ = self.store.lock_as_before();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Blobs, Unsettled};
    use kiln_oci::Sha256;

    const NOT_AT_ALL: Patience<'_> = Patience::Limited(Duration::ZERO);

    fn blob(text: &str) -> Unsettled {
        Unsettled::Blob(Sha256::of(text.as_bytes()))
    }

    fn leases(store: &Store) -> usize {
        fs::read_dir(store.path("leases")).map_or(0, Iterator::count)
    }

    #[test]
    fn a_collection_waits_for_kilns_that_admit_none() {
        let directory = tempfile::tempdir().unwrap();
        let [one, other] = [(); 2].map(|()| Store::open(directory.path()).unwrap());
        assert!(one.begin_collection(&NOT_AT_ALL).unwrap().is_none());
        other.admit_collection();
        let collection = one.begin_collection(&NOT_AT_ALL).unwrap().unwrap();
        // Another collector does not begin, and waits for none.
        assert!(other.begin_collection(&NOT_AT_ALL).unwrap().is_none());
        drop(collection);
        one.admit_collection();
        assert!(other.begin_collection(&NOT_AT_ALL).unwrap().is_some());
    }

    #[test]
    fn an_endless_wait_is_told_once_and_ends() {
        let directory = tempfile::tempdir().unwrap();
        let [one, other] = [(); 2].map(|()| Store::open(directory.path()).unwrap());
        let other = std::sync::Mutex::new(Some(other));
        let told = std::sync::atomic::AtomicUsize::new(0);
        let waiting = || {
            told.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            drop(other.lock().unwrap().take());
        };
        let begun = one.begin_collection(&Patience::Endless(&waiting)).unwrap();
        assert!(begun.is_some());
        assert_eq!(told.into_inner(), 1);
    }

    #[test]
    fn objects_in_use_are_spared_from_their_first_use_on() {
        let directory = tempfile::tempdir().unwrap();
        let [one, other] = [(); 2].map(|()| Store::open(directory.path()).unwrap());
        let blobs = Blobs::new(&other);
        let read = blobs.put(b"read").unwrap();
        other.hold(blob("before"));
        other.admit_collection();
        other.hold(blob("after"));
        let collection = one.begin_collection(&NOT_AT_ALL).unwrap().unwrap();
        other.hold(blob("meanwhile"));
        assert!(!blobs.contains(Sha256::of(b"looked for")));
        let uses = |in_use: &InUse, what: Unsettled| in_use.contains(&what.into());
        let in_use = collection.in_use().unwrap();
        for what in ["before", "after", "meanwhile", "looked for"] {
            assert!(uses(&in_use, blob(what)), "{what}");
        }
        assert!(uses(&in_use, Unsettled::Blob(read)));
        // What the collector itself looks at does not count.
        one.hold(blob("mine"));
        assert!(!uses(&collection.in_use().unwrap(), blob("mine")));
    }

    #[test]
    fn leases_of_kilns_that_end_during_a_collection_stay_until_its_end() {
        let directory = tempfile::tempdir().unwrap();
        let one = Store::open(directory.path()).unwrap();
        let use_once = |what: &str| {
            let other = Store::open(directory.path()).unwrap();
            other.hold(blob(what));
            other.admit_collection();
        };
        use_once("earlier");
        assert_eq!(leases(&one), 0);
        // A kiln that was killed before: what it named is found by the inventory.
        fs::write(
            one.path("leases/1-0"),
            format!("{}\n", Leased::from(blob("killed"))),
        )
        .unwrap();
        let collection = one.begin_collection(&NOT_AT_ALL).unwrap().unwrap();
        assert_eq!(leases(&one), 0);
        use_once("ended");
        let in_use = collection.in_use().unwrap();
        assert!(in_use.contains(&blob("ended").into()));
        assert!(!in_use.contains(&blob("killed").into()));
        drop(collection);
        assert_eq!(leases(&one), 0);
        assert!(!one.path("collecting").exists());
    }

    #[test]
    fn kilns_that_start_during_a_collection_admit_it() {
        let directory = tempfile::tempdir().unwrap();
        let one = Store::open(directory.path()).unwrap();
        let collection = one.begin_collection(&NOT_AT_ALL).unwrap().unwrap();
        let other = Store::open(directory.path()).unwrap();
        assert_eq!(leases(&one), 1);
        other.hold(blob("used"));
        let spared = collection.remove(|in_use| Ok(in_use.contains(&blob("used").into())));
        assert!(spared.unwrap());
        drop((collection, other));
        // A collector that was killed leaves its mark, and nobody takes notice.
        fs::write(one.path("collecting"), "").unwrap();
        let other = Store::open(directory.path()).unwrap();
        assert_eq!(leases(&one), 0);
        other.admit_collection();
        drop(other);
        assert_eq!(leases(&one), 0);
        assert!(one.begin_collection(&NOT_AT_ALL).unwrap().is_some());
    }

    #[test]
    fn a_collector_that_uses_something_itself_keeps_the_lock() {
        let directory = tempfile::tempdir().unwrap();
        let [one, other] = [(); 2].map(|()| Store::open(directory.path()).unwrap());
        other.admit_collection();
        let is_alone = || {
            File::open(one.path("lock"))
                .unwrap()
                .try_lock_shared()
                .is_err()
        };
        for collector in [&one, &other] {
            let collection = collector.begin_collection(&NOT_AT_ALL).unwrap().unwrap();
            let kept = collection.remove(|_| {
                collector.hold(blob("used"));
                let _work = collector.work_dir()?;
                Ok(is_alone())
            });
            assert!(kept.unwrap());
            drop(collection);
            one.admit_collection();
        }
        assert!(!is_alone());
    }

    #[test]
    fn a_collection_that_was_called_off_removes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let one = Store::open(directory.path()).unwrap();
        let collection = one.begin_collection(&NOT_AT_ALL).unwrap().unwrap();
        fs::remove_file(one.path("collecting")).unwrap();
        let error = collection.remove(|_| -> io::Result<()> { panic!("it is off") });
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Interrupted);
        // The mark of the next one is not removed by the first.
        fs::write(one.path("collecting"), "").unwrap();
        assert!(collection.in_use().is_err());
        drop(collection);
        assert!(one.path("collecting").exists());
    }
}
