//! Directories that outlive builds: `RUN --mount=type=cache`.
//!
//! Every key has *copies*, directories named `<age>-<number>`. Who wants one takes a flock on it:
//! shared or exclusive, as the mount says. If every copy is held by others, a further one is made,
//! or the taker waits. Only copies of the highest age are given out; beginning anew makes a copy of
//! the next age, and whoever comes by deletes older ones that nobody holds.
//!
//! A copy is a directory with the files `lock` and `filling`, which is locked by whoever fills it,
//! and, once it is filled, the directory `data`.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::actions::touch;
use crate::{Blake3, Flight, Store};

/// How a cache mount is shared with other commands that run at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheSharing {
    /// With everybody who shares it too.
    Shared,
    /// With nobody: a second taker gets a copy of its own.
    Private,
    /// With nobody: a second taker waits.
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

/// What became of an attempt to take a cache mount.
#[derive(Debug)]
pub enum CacheAttempt {
    /// It is there.
    Taken(CacheMount),
    /// Somebody else has it. Wait, let go of the claim and try again.
    Busy(Flight),
}

/// Takes the cache mount called `key`. A new one is made by `fill`, which is given the path of a
/// directory to make; it is called again if it was interrupted.
///
/// # Errors
/// When the state directory cannot be written, or `fill` fails.
pub fn take_cache_mount(
    store: &Store,
    key: Blake3,
    sharing: CacheSharing,
    start: CacheStart,
    fill: &dyn Fn(&Path) -> io::Result<()>,
) -> io::Result<CacheAttempt> {
    let top = store.path(format!("cachemounts/{}", key.hex()));
    fs::create_dir_all(&top)?;
    let mut start = start;
    loop {
        let copies = copies(&top)?;
        let age = copies.last().map_or(0, |copy| copy.age);
        remove_older(&top, &copies, age);
        let current: Vec<&Copy> = copies.iter().filter(|copy| copy.age == age).collect();
        if start == CacheStart::Warm {
            for copy in &current {
                if let Some(mount) = try_take(&top, **copy, sharing, fill)? {
                    return Ok(CacheAttempt::Taken(mount));
                }
            }
            if let (CacheSharing::Locked, Some(first)) = (sharing, current.first()) {
                match open_lock(&top.join(first.name())) {
                    Ok(file) => return Ok(CacheAttempt::Busy(Flight::of(file))),
                    Err(error) if error.kind() == ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                }
            }
        }
        let new = match start {
            CacheStart::Anew => Copy {
                age: age + 1,
                number: 0,
            },
            CacheStart::Warm => Copy {
                age,
                number: current.last().map_or(0, |copy| copy.number + 1),
            },
        };
        match fs::create_dir(top.join(new.name())) {
            Ok(()) => {}
            // Another one made it first: take that one, or a further one.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(error),
        }
        // From here on the new copy is the one that everybody takes.
        start = CacheStart::Warm;
        if let Some(mount) = try_take(&top, new, sharing, fill)? {
            return Ok(CacheAttempt::Taken(mount));
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Copy {
    age: u64,
    number: u64,
}

impl Copy {
    fn name(self) -> String {
        format!("{}-{}", self.age, self.number)
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
fn copies(top: &Path) -> io::Result<Vec<Copy>> {
    let mut copies = Vec::new();
    for entry in fs::read_dir(top)? {
        copies.extend(entry?.file_name().to_str().and_then(Copy::parse));
    }
    copies.sort_unstable();
    Ok(copies)
}

/// Takes a copy unless somebody holds it; fills it if it is empty.
fn try_take(
    top: &Path,
    copy: Copy,
    sharing: CacheSharing,
    fill: &dyn Fn(&Path) -> io::Result<()>,
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
        // Of several who share it, one fills it and the others wait: whoever went on to a copy of
        // its own would share nothing.
        let filling = File::create(directory.join("filling"))?;
        filling.lock()?;
        if !data.is_dir() {
            let unfinished = directory.join("new");
            match fs::remove_dir_all(&unfinished) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            fill(&unfinished)?;
            fs::rename(&unfinished, &data)?;
        }
    }
    Ok(Some(CacheMount { data, _lock: lock }))
}

fn open_lock(directory: &Path) -> io::Result<File> {
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(directory.join("lock"))
}

fn locked(attempt: Result<(), TryLockError>) -> io::Result<bool> {
    match attempt {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Deletes copies that are not given out any more, if nobody holds them. What cannot be deleted
/// now is tried again by the next one.
fn remove_older(top: &Path, copies: &[Copy], age: u64) {
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

    fn fill(path: &Path) -> io::Result<()> {
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
                CacheAttempt::Busy(_) => panic!("it is free"),
            }
        }
    }

    #[test]
    fn what_is_shared_is_one_directory() {
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
        // One that is shared does not join who is alone.
        let third = bench.take(CacheSharing::Shared);
        assert_ne!(third.path(), second.path());
    }

    #[test]
    fn a_second_locked_taker_waits() {
        let bench = Bench::new();
        let first = bench.take(CacheSharing::Locked);
        let CacheAttempt::Busy(flight) = bench.attempt(CacheSharing::Locked, CacheStart::Warm)
        else {
            panic!("it is held");
        };
        let path = first.path().to_owned();
        let waiter = std::thread::spawn(move || drop(flight.wait().unwrap()));
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
    fn who_shares_a_new_one_waits_until_it_is_filled() {
        let bench = Bench::new();
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let fill_slowly = |path: &Path| {
                let sender = sender.clone();
                let bench = &bench;
                scope.spawn(move || sender.send(bench.take(CacheSharing::Shared)));
                // Time enough for the other one to take another copy, if it did not wait.
                assert!(receiver.recv_timeout(Duration::from_millis(200)).is_err());
                fill(path)
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
    fn what_was_not_filled_is_filled_again() {
        let bench = Bench::new();
        let key = Blake3::of(b"npm");
        let fails = |path: &Path| {
            fs::create_dir(path)?;
            Err(io::Error::other("interrupted"))
        };
        let (sharing, start) = (CacheSharing::Shared, CacheStart::Warm);
        assert!(take_cache_mount(&bench.store, key, sharing, start, &fails).is_err());
        assert!(bench.take(sharing).path().is_dir());
    }
}
