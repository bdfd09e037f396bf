//! Directories that outlive builds: `RUN --mount=type=cache`.
//!
//! Every key has *copies*, directories named `<age>-<number>`. A step that mounts one takes a flock
//! on it: shared or exclusive, as the mount says. If every copy is held by other steps, a further one
//! is made, or the step waits. Only copies of the highest age are given out. A build that begins anew
//! (`--no-cache`) makes a copy of the next age; each later step deletes older copies without a
//! holder.
//!
//! A copy is a directory with the file `lock`, the file `filling`, which the step that fills the copy
//! locks, and, once it is filled, the directory `data`.
//!
//! An export reads all of a copy. Meanwhile no step may write to it, nor be sent to a further copy
//! because of the reader. So there is a `gate` beside the copies: steps hold it, shared, while they
//! look for a copy, and a reader holds it exclusively as long as it reads. A reader takes only a copy
//! without a holder.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::actions::touch;
use crate::{Leased, LockWait, Store};
use kiln_files::unless_gone;
use kiln_tree::Blake3;

/// Makes the directory at a path, the beginning of a new copy.
pub type FillCacheMount<'a> = dyn Fn(&Path, CacheCopy) -> io::Result<()> + 'a;

/// The sharing of a cache mount with other steps that run at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheSharing {
    /// Steps that share it use one copy at the same time.
    Shared,
    /// A second step gets a copy of its own.
    Private,
    /// A second step waits.
    Locked,
}

/// Whether what earlier builds left may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheStart {
    /// It may.
    Warm,
    /// It may not, and later builds do not find it either (`--no-cache`).
    Anew,
}

/// Which copy of a cache mount is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheCopy {
    /// The first one ever on this machine.
    First,
    /// One beside others, or after them.
    Further,
}

/// A cache mount in use, until dropped.
#[derive(Debug)]
pub struct CacheMount {
    data: PathBuf,
    /// Held for its lock.
    _lock: File,
}

impl CacheMount {
    /// Returns the directory to be mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.data
    }
}

/// The outcome of an attempt to take a cache mount.
#[derive(Debug)]
pub enum CacheAttempt {
    /// It is there.
    Taken(CacheMount),
    /// Another step holds it. Wait, let go of the claim and try again, warm.
    Busy(LockWait),
    /// An export reads it. Wait, let go of the claim and try the same again.
    Read(LockWait),
}

/// A cache mount that no step writes to, until dropped.
#[derive(Debug)]
pub struct StillCacheMount {
    data: PathBuf,
    /// Held for their locks.
    _locks: [File; 2],
}

impl StillCacheMount {
    /// Returns its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.data
    }
}

/// The outcome of an attempt to read a cache mount.
#[derive(Debug)]
pub enum CacheReading {
    /// It holds still.
    Still(StillCacheMount),
    /// Steps use it. Try again later.
    Busy,
    /// There is none.
    Nothing,
}

/// Returns where everything about the cache mount called `key` is kept.
#[must_use]
pub fn cache_mount_place(store: &Store, key: Blake3) -> PathBuf {
    store.path(format!("cachemounts/{}", key.hex()))
}

fn tree(key: Blake3) -> Leased {
    Leased::Tree(format!("cachemounts/{}", key.hex()))
}

/// Reads what the last step left in the cache mount called `key`: the first of its copies that no
/// step holds.
///
/// # Errors
/// When the state directory cannot be read or a lock not be taken.
pub fn read_cache_mount(store: &Store, key: Blake3) -> io::Result<CacheReading> {
    let top = cache_mount_place(store, key);
    store.hold(tree(key));
    let gate = match open_gate(&top) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(CacheReading::Nothing),
        other => other?,
    };
    if !locked(gate.try_lock())? {
        return Ok(CacheReading::Busy);
    }
    let copies = copies(&top)?;
    let Some(age) = copies.last().map(|copy| copy.age) else {
        return Ok(CacheReading::Nothing);
    };
    let mut reading = CacheReading::Nothing;
    for copy in copies.iter().filter(|copy| copy.age == age) {
        let directory = top.join(copy.name());
        let lock = match open_lock(&directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            other => other?,
        };
        if !locked(lock.try_lock())? {
            reading = CacheReading::Busy;
            continue;
        }
        let data = directory.join("data");
        if data.is_dir() {
            return Ok(CacheReading::Still(StillCacheMount {
                data,
                _locks: [lock, gate],
            }));
        }
    }
    Ok(reading)
}

/// Takes the cache mount called `key`. A new one is made by `fill`, which is called again if it was
/// interrupted.
///
/// # Errors
/// When the state directory cannot be written, or `fill` fails.
pub fn take_cache_mount(
    store: &Store,
    key: Blake3,
    sharing: CacheSharing,
    start: CacheStart,
    fill: &FillCacheMount<'_>,
) -> io::Result<CacheAttempt> {
    let top = cache_mount_place(store, key);
    store.hold(tree(key));
    fs::create_dir_all(&top)?;
    let gate = open_gate(&top)?;
    if !locked(gate.try_lock_shared())? {
        return Ok(CacheAttempt::Read(LockWait::of(gate)));
    }
    let mut start = start;
    loop {
        let copies = copies(&top)?;
        let age = copies.last().map_or(0, |copy| copy.age);
        remove_older(&top, &copies, age);
        let current: Vec<&MountCopy> = copies.iter().filter(|copy| copy.age == age).collect();
        if start == CacheStart::Warm {
            for copy in &current {
                if let Some(mount) = try_take(&top, **copy, sharing, fill)? {
                    return Ok(CacheAttempt::Taken(mount));
                }
            }
            if let (CacheSharing::Locked, Some(first)) = (sharing, current.first()) {
                match open_lock(&top.join(first.name())) {
                    Ok(file) => return Ok(CacheAttempt::Busy(LockWait::of(file))),
                    Err(error) if error.kind() == ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                }
            }
        }
        let new = match start {
            CacheStart::Anew => MountCopy {
                age: age + 1,
                number: 0,
            },
            CacheStart::Warm => MountCopy {
                age,
                number: current.last().map_or(0, |copy| copy.number + 1),
            },
        };
        match fs::create_dir(top.join(new.name())) {
            Ok(()) => {}
            // Another step made it first: take that copy, or a further one.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(error),
        }
        // From here on every step takes the new copy.
        start = CacheStart::Warm;
        if let Some(mount) = try_take(&top, new, sharing, fill)? {
            return Ok(CacheAttempt::Taken(mount));
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct MountCopy {
    age: u64,
    number: u64,
}

impl MountCopy {
    fn name(self) -> String {
        format!("{}-{}", self.age, self.number)
    }

    fn rank(self) -> CacheCopy {
        match self {
            Self { age: 0, number: 0 } => CacheCopy::First,
            _ => CacheCopy::Further,
        }
    }

    fn parse(name: &str) -> Option<Self> {
        let (age, number) = name.split_once('-')?;
        Some(Self {
            age: age.parse().ok()?,
            number: number.parse().ok()?,
        })
    }
}

/// Returns all copies, in order of age and number.
fn copies(top: &Path) -> io::Result<Vec<MountCopy>> {
    let mut copies = Vec::new();
    for entry in fs::read_dir(top)? {
        copies.extend(entry?.file_name().to_str().and_then(MountCopy::parse));
    }
    copies.sort_unstable();
    Ok(copies)
}

/// Takes a copy unless another step holds it; fills it if it is empty.
fn try_take(
    top: &Path,
    copy: MountCopy,
    sharing: CacheSharing,
    fill: &FillCacheMount<'_>,
) -> io::Result<Option<CacheMount>> {
    let directory = top.join(copy.name());
    let data = directory.join("data");
    let lock = match open_lock(&directory) {
        Ok(lock) => lock,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let is_mine = match sharing {
        CacheSharing::Shared => locked(lock.try_lock_shared())?,
        CacheSharing::Private | CacheSharing::Locked => locked(lock.try_lock())?,
    };
    // It may have been deleted since it was listed.
    if !is_mine || !directory.is_dir() {
        return Ok(None);
    }
    // The time of the lock's file says when it was used last.
    touch(&directory.join("lock"))?;
    if !data.is_dir() {
        // Of several steps that share it, one fills it and the others wait: a step that went on to a
        // copy of its own would share nothing.
        let filling = File::create(directory.join("filling"))?;
        filling.lock()?;
        if !data.is_dir() {
            let unfinished = directory.join("new");
            unless_gone(fs::remove_dir_all(&unfinished))?;
            fill(&unfinished, copy.rank())?;
            fs::rename(&unfinished, &data)?;
        }
    }
    Ok(Some(CacheMount { data, _lock: lock }))
}

fn open_lock(directory: &Path) -> io::Result<File> {
    open(&directory.join("lock"))
}

fn open_gate(top: &Path) -> io::Result<File> {
    open(&top.join("gate"))
}

fn open(path: &Path) -> io::Result<File> {
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
}

fn locked(attempt: Result<(), TryLockError>) -> io::Result<bool> {
    match attempt {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Deletes copies that are not given out any more and have no holder. The next step tries again
/// what cannot be deleted now.
fn remove_older(top: &Path, copies: &[MountCopy], age: u64) {
    for copy in copies.iter().filter(|copy| copy.age < age) {
        let directory = top.join(copy.name());
        let free = open_lock(&directory).and_then(|lock| {
            let is_mine = locked(lock.try_lock())?;
            Ok(is_mine.then_some(lock))
        });
        if let Ok(Some(_lock)) = free {
            let _ = fs::remove_dir_all(&directory);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn fill(path: &Path, _: CacheCopy) -> io::Result<()> {
        fs::create_dir(path)
    }

    struct Bench {
        store: Store,
        _directory: tempfile::TempDir,
    }

    impl Bench {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            Self {
                store: Store::open(directory.path()).unwrap(),
                _directory: directory,
            }
        }

        fn attempt(&self, sharing: CacheSharing, start: CacheStart) -> CacheAttempt {
            take_cache_mount(&self.store, Blake3::of(b"npm"), sharing, start, &fill).unwrap()
        }

        fn take(&self, sharing: CacheSharing) -> CacheMount {
            match self.attempt(sharing, CacheStart::Warm) {
                CacheAttempt::Taken(mount) => mount,
                _ => panic!("it is free"),
            }
        }

        fn read(&self) -> CacheReading {
            read_cache_mount(&self.store, Blake3::of(b"npm")).unwrap()
        }
    }

    #[test]
    fn shared_takers_get_one_directory() {
        let bench = Bench::new();
        let first = bench.take(CacheSharing::Shared);
        let second = bench.take(CacheSharing::Shared);
        assert_eq!(first.path(), second.path());
        fs::write(first.path().join("kept"), "x").unwrap();
        drop((first, second));
        assert!(
            bench
                .take(CacheSharing::Shared)
                .path()
                .join("kept")
                .exists()
        );
    }

    #[test]
    fn a_second_private_taker_gets_a_copy_of_its_own() {
        let bench = Bench::new();
        let first = bench.take(CacheSharing::Private);
        let second = bench.take(CacheSharing::Private);
        assert_ne!(first.path(), second.path());
        let name = first.path().to_owned();
        drop(first);
        assert_eq!(bench.take(CacheSharing::Private).path(), name);
        // A step that shares does not join one that does not.
        let third = bench.take(CacheSharing::Shared);
        assert_ne!(third.path(), second.path());
    }

    #[test]
    fn a_second_locked_taker_waits() {
        let bench = Bench::new();
        let first = bench.take(CacheSharing::Locked);
        let CacheAttempt::Busy(lock) = bench.attempt(CacheSharing::Locked, CacheStart::Warm) else {
            panic!("it is held");
        };
        let path = first.path().to_owned();
        let waiter = std::thread::spawn(move || drop(lock.wait().unwrap()));
        drop(first);
        waiter.join().unwrap();
        assert_eq!(bench.take(CacheSharing::Locked).path(), path);
    }

    #[test]
    fn beginning_anew_leaves_nothing_behind() {
        let bench = Bench::new();
        let old = bench.take(CacheSharing::Shared);
        fs::write(old.path().join("old"), "x").unwrap();
        let CacheAttempt::Taken(new) = bench.attempt(CacheSharing::Locked, CacheStart::Anew) else {
            panic!("a new one is free");
        };
        fs::write(new.path().join("new"), "x").unwrap();
        assert!(old.path().join("old").exists(), "it is still in use");
        let old_path = old.path().to_owned();
        drop((old, new));
        let later = bench.take(CacheSharing::Shared);
        assert!(later.path().join("new").exists());
        assert!(!later.path().join("old").exists());
        assert!(!old_path.exists());
    }

    #[test]
    fn a_shared_taker_waits_until_a_new_copy_is_filled() {
        let bench = Bench::new();
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let fill_slowly = |path: &Path, copy: CacheCopy| {
                let sender = sender.clone();
                let bench = &bench;
                scope.spawn(move || sender.send(bench.take(CacheSharing::Shared)));
                // Time enough for the other one to take another copy, if it did not wait.
                assert!(receiver.recv_timeout(Duration::from_millis(200)).is_err());
                fill(path, copy)
            };
            let key = Blake3::of(b"npm");
            let (sharing, start) = (CacheSharing::Shared, CacheStart::Warm);
            let CacheAttempt::Taken(first) =
                take_cache_mount(&bench.store, key, sharing, start, &fill_slowly).unwrap()
            else {
                panic!("nobody is alone with it");
            };
            assert_eq!(receiver.recv().unwrap().path(), first.path());
        });
    }

    #[test]
    fn an_unfinished_copy_is_filled_again() {
        let bench = Bench::new();
        let key = Blake3::of(b"npm");
        let fails = |path: &Path, _: CacheCopy| {
            fs::create_dir(path)?;
            Err(io::Error::other("interrupted"))
        };
        let (sharing, start) = (CacheSharing::Shared, CacheStart::Warm);
        assert!(take_cache_mount(&bench.store, key, sharing, start, &fails).is_err());
        assert!(bench.take(sharing).path().is_dir());
    }

    #[test]
    fn readers_and_takers_wait_for_each_other() {
        let bench = Bench::new();
        assert!(matches!(bench.read(), CacheReading::Nothing));
        let first = bench.take(CacheSharing::Shared);
        fs::write(first.path().join("kept"), "x").unwrap();
        assert!(matches!(bench.read(), CacheReading::Busy));
        let path = first.path().to_owned();
        drop(first);
        let CacheReading::Still(still) = bench.read() else {
            panic!("no step holds it");
        };
        assert_eq!(still.path(), path);
        assert!(matches!(bench.read(), CacheReading::Busy));
        // No step is sent to another copy, and one that begins anew waits too.
        for (sharing, start) in [
            (CacheSharing::Shared, CacheStart::Warm),
            (CacheSharing::Private, CacheStart::Warm),
            (CacheSharing::Locked, CacheStart::Anew),
        ] {
            let attempt = bench.attempt(sharing, start);
            assert!(matches!(attempt, CacheAttempt::Read(_)), "{sharing:?}");
        }
        let CacheAttempt::Read(lock) = bench.attempt(CacheSharing::Shared, CacheStart::Warm) else {
            panic!("it is read");
        };
        let waiter = std::thread::spawn(move || drop(lock.wait().unwrap()));
        drop(still);
        waiter.join().unwrap();
        assert_eq!(bench.take(CacheSharing::Shared).path(), path);
    }

    #[test]
    fn a_reader_gets_a_copy_of_the_current_age() {
        let bench = Bench::new();
        drop(bench.take(CacheSharing::Shared));
        let CacheAttempt::Taken(new) = bench.attempt(CacheSharing::Private, CacheStart::Anew)
        else {
            panic!("a new one is free");
        };
        let path = new.path().to_owned();
        assert!(matches!(bench.read(), CacheReading::Busy));
        let beside = bench.take(CacheSharing::Private);
        drop(new);
        let CacheReading::Still(still) = bench.read() else {
            panic!("no step holds it");
        };
        assert_eq!(still.path(), path);
        drop(beside);
    }

    #[test]
    fn only_the_first_copy_is_the_first() {
        let bench = Bench::new();
        let seen = std::cell::RefCell::new(Vec::new());
        let note = |path: &Path, copy: CacheCopy| {
            seen.borrow_mut().push(copy);
            fs::create_dir(path)
        };
        let key = Blake3::of(b"npm");
        let take = |start| {
            take_cache_mount(&bench.store, key, CacheSharing::Private, start, &note).unwrap()
        };
        let held = [
            take(CacheStart::Warm),
            take(CacheStart::Warm),
            take(CacheStart::Anew),
        ];
        let (first, further) = (CacheCopy::First, CacheCopy::Further);
        assert_eq!(*seen.borrow(), [first, further, further]);
        drop(held);
        let anew = Bench::new();
        take_cache_mount(
            &anew.store,
            key,
            CacheSharing::Shared,
            CacheStart::Anew,
            &note,
        )
        .unwrap();
        assert_eq!(seen.borrow().last(), Some(&further));
    }
}
