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
    notice: CollectionNotice,
}

/// How others know of a collection.
#[derive(Debug)]
enum CollectionNotice {
    /// By a file, held for its lock.
    Marker { file: File, path: PathBuf },
    /// There was no room for one: the collector has the lock of the state directory from the
    /// beginning to the end, and others wait.
    Lock,
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

    /// Returns everything that is used.
    pub fn iter(&self) -> impl Iterator<Item = &Leased> {
        self.0.iter()
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
        // What the collector itself used needs no protection, and one that waits for its turn must not
        // be waited for.
        self.unlock()?;
        loop {
            // From here on kilns that start admit collection, so that only earlier ones are waited for.
            if !made.as_ref().is_some_and(CollectionNotice::is_on) {
                made = self.give_notice()?;
            }
            let is_locked = made.is_some() && self.try_lock().unwrap_or(false);
            if is_locked && !made.as_ref().is_some_and(CollectionNotice::is_on) {
                // A kiln without room took the notice back, and may have ended since.
                self.lock_as_before()?;
                self.unlock()?;
            } else if let Some(notice) = made.take_if(|_| is_locked) {
                // What these named is found by the inventory.
                let cleared = self.leases().of_others(|ended| {
                    let _ = fs::remove_file(ended);
                });
                if matches!(notice, CollectionNotice::Marker { .. }) {
                    self.lock_as_before()?;
                }
                let collection = Collection {
                    store: self,
                    notice,
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
                if let Some(notice) = made {
                    notice.take_back();
                }
                self.lock_as_before()?;
                return stopped.map(|()| None);
            }
            std::thread::sleep(GLANCE);
        }
    }

    /// Says that garbage is collected; none if another kiln does so.
    fn give_notice(&self) -> io::Result<Option<CollectionNotice>> {
        let path = self.leases().marker();
        let opened = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path);
        let file = match opened {
            // Collecting is what makes room.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::StorageFull | ErrorKind::QuotaExceeded
                ) =>
            {
                return Ok(Some(CollectionNotice::Lock));
            }
            other => other?,
        };
        match file.try_lock() {
            // Another collector may have ended in between, and removed it.
            Ok(()) => Ok(is_at(&file, &path)?.then_some(CollectionNotice::Marker { file, path })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl CollectionNotice {
    /// Says whether others still know of it.
    fn is_on(&self) -> bool {
        match self {
            Self::Marker { file, path } => is_at(file, path).unwrap_or(false),
            Self::Lock => true,
        }
    }

    /// Ends it, unless it was ended and another collector has given its own.
    fn take_back(&self) {
        if let Self::Marker { path, .. } = self
            && self.is_on()
        {
            let _ = fs::remove_file(path);
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
    /// be short, rename what takes long to delete, and wait for no lock that a kiln can have which
    /// begins to use something.
    ///
    /// # Errors
    /// What `act` returns; [`ErrorKind::Interrupted`] if a kiln called the collection off, or the user
    /// stopped this one.
    pub fn remove<T>(&self, act: impl FnOnce(&InUse) -> io::Result<T>) -> io::Result<T> {
        if matches!(self.notice, CollectionNotice::Lock) {
            return self.look(act);
        }
        self.wait_for_lock()?;
        let result = self.look(act);
        self.store.lock_as_before()?;
        result
    }

    /// Waits until this process has the lock for itself. One that called the collection off, for want
    /// of room, may have it for long.
    fn wait_for_lock(&self) -> io::Result<()> {
        let waited = loop {
            if !self.notice.is_on() {
                let why = "a kiln that finds no room on the disk called the collection off";
                break Err(io::Error::new(ErrorKind::Interrupted, why));
            }
            match self.store.try_lock() {
                // It may have been called off in between.
                Ok(true) if self.notice.is_on() => return Ok(()),
                Ok(_) => {}
                Err(error) => break Err(error),
            }
            if let Err(stopped) = self.store.stop().check() {
                break Err(stopped);
            }
            std::thread::sleep(GLANCE);
        };
        // An attempt that fails gives up what was held.
        self.store.lock_as_before()?;
        waited
    }

    fn look<T>(&self, act: impl FnOnce(&InUse) -> io::Result<T>) -> io::Result<T> {
        let in_use = InUse(self.store.leases().of_others(|_| {})?);
        act(&in_use)
    }
}

impl Drop for Collection<'_> {
    fn drop(&mut self) {
        // What cannot be removed now, the next collector removes. One that was called off removes
        // nothing: the leases that are left may be what another spares.
        let is_locked =
            matches!(self.notice, CollectionNotice::Lock) || self.wait_for_lock().is_ok();
        if is_locked && self.notice.is_on() {
            self.notice.take_back();
            let _ = self.store.leases().of_others(|ended| {
                let _ = fs::remove_file(ended);
            });
        }
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
    fn collectors_that_wait_without_end_take_turns() {
        let directory = tempfile::tempdir().unwrap();
        let stores = [(); 4].map(|()| Store::open(directory.path()).unwrap());
        let ended = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for store in &stores {
                scope.spawn(|| {
                    let begun = store.begin_collection(&Patience::Endless(&|| {}));
                    let collection = begun.unwrap().unwrap();
                    collection.remove(|_| Ok(())).unwrap();
                    drop(collection);
                    // It stays, and uses things again, as a command does that goes on.
                    store.hold(blob("used"));
                    ended.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    store.admit_collection();
                });
            }
        });
        assert_eq!(ended.into_inner(), 4);
    }

    #[test]
    fn a_collector_called_off_leaves_the_leases_that_another_needs() {
        let directory = tempfile::tempdir().unwrap();
        let [one, other] = [(); 2].map(|()| Store::open(directory.path()).unwrap());
        for store in [&one, &other] {
            store.admit_collection();
        }
        let first = one.begin_collection(&NOT_AT_ALL).unwrap().unwrap();
        fs::remove_file(one.path("collecting")).unwrap();
        let second = other.begin_collection(&NOT_AT_ALL).unwrap().unwrap();
        let ended = Store::open(directory.path()).unwrap();
        ended.hold(blob("named since"));
        drop(ended);
        drop(first);
        let in_use = second.in_use().unwrap();
        assert!(in_use.contains(&blob("named since").into()));
    }

    #[test]
    fn a_collector_that_is_stopped_waits_for_no_lock() {
        let directory = tempfile::tempdir().unwrap();
        let [one, other] = [(); 2].map(|()| Store::open(directory.path()).unwrap());
        other.admit_collection();
        let collection = one.begin_collection(&NOT_AT_ALL).unwrap().unwrap();
        let lock = File::open(one.path("lock")).unwrap();
        lock.lock_shared().unwrap();
        one.stop().ask();
        assert!(collection.in_use().is_err());
        drop(collection);
    }

    #[test]
    fn leases_of_killed_kilns_do_not_pile_up() {
        let directory = tempfile::tempdir().unwrap();
        let one = Store::open(directory.path()).unwrap();
        let other = Store::open(directory.path()).unwrap();
        other.admit_collection();
        for number in 0..200 {
            fs::write(one.path(format!("leases/1-{number}")), "").unwrap();
        }
        let running = Store::open(directory.path()).unwrap();
        running.admit_collection();
        assert_eq!(leases(&one), 2);
        // During a collection they say what got a name.
        let collection = one.begin_collection(&NOT_AT_ALL).unwrap().unwrap();
        for number in 0..200 {
            fs::write(one.path(format!("leases/1-{number}")), "").unwrap();
        }
        let late = Store::open(directory.path()).unwrap();
        late.admit_collection();
        assert_eq!(leases(&one), 203);
        drop(collection);
        assert_eq!(leases(&one), 3);
    }

    #[test]
    fn things_in_leases_that_are_no_files_hold_nobody_up() {
        let directory = tempfile::tempdir().unwrap();
        let one = Store::open(directory.path()).unwrap();
        fs::create_dir_all(one.path("leases/directory")).unwrap();
        std::os::unix::fs::symlink("nowhere", one.path("leases/link")).unwrap();
        let fifo = one.path("leases/fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .unwrap();
        let collection = one.begin_collection(&NOT_AT_ALL).unwrap().unwrap();
        collection.in_use().unwrap();
        assert_eq!(leases(&one), 1);
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
