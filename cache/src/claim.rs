//! The claim on a step: of several kilns that want to run it, one does and the others wait for its
//! record.
//!
//! A claim is a flock on a file named by the key, so the kernel ends it with the process that holds
//! it, however that process ends. The files are empty and stay; collecting garbage removes them.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use kiln_files::unless_gone;

use crate::{ActionKey, Store};

/// The right to run a step, until dropped.
#[derive(Debug)]
pub struct Claim {
    /// Held for its lock.
    _lock: File,
}

/// The outcome of an attempt to claim a step.
#[derive(Debug)]
pub enum ClaimAttempt {
    /// No other thread or process is running it.
    Claimed(Claim),
    /// Another thread or process is; wait with [`LockWait::wait`].
    Busy(LockWait),
}

/// A lock that another thread or process holds, and that can be waited for.
#[derive(Debug)]
pub struct LockWait {
    file: File,
    /// Its name, if a collector may remove it meanwhile: then the lock is that of another file.
    path: Option<PathBuf>,
}

/// Tries to claim the step named by `key`.
///
/// # Errors
/// When the lock file cannot be made or locked.
pub fn claim(store: &Store, key: ActionKey) -> io::Result<ClaimAttempt> {
    loop {
        let (file, path) = open(store, key)?;
        match file.try_lock() {
            // A collector may have removed it in between.
            Ok(()) if is_at(&file, &path)? => {
                return Ok(ClaimAttempt::Claimed(Claim { _lock: file }));
            }
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                store.admit_collection();
                let path = Some(path);
                return Ok(ClaimAttempt::Busy(LockWait { file, path }));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// Removes the files of claims that nobody has.
///
/// # Errors
/// When one cannot be looked at or removed.
pub fn remove_free_claims(store: &Store) -> io::Result<()> {
    for (path, _) in store.spread_files("locks")? {
        let file = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            other => other?,
        };
        if file.try_lock().is_ok() {
            unless_gone(fs::remove_file(&path))?;
        }
    }
    Ok(())
}

/// Says whether an open file is still what has this name.
pub(crate) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let own = file.metadata()?;
    match fs::metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == (own.dev(), own.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

impl LockWait {
    /// Waits for a lock that is not that of a step.
    pub(crate) fn of(file: File) -> Self {
        Self { file, path: None }
    }

    /// Waits until the others are done and takes the claim. Look for the record then.
    ///
    /// # Errors
    /// When locking fails.
    pub fn wait(mut self) -> io::Result<Claim> {
        loop {
            self.file.lock()?;
            if self.has_name()? {
                return Ok(Claim { _lock: self.file });
            }
            self.open_again()?;
        }
    }

    /// Takes the claim if the others are done.
    ///
    /// # Errors
    /// When locking fails.
    pub fn poll(mut self) -> io::Result<ClaimAttempt> {
        loop {
            match self.file.try_lock() {
                Ok(()) if self.has_name()? => {
                    return Ok(ClaimAttempt::Claimed(Claim { _lock: self.file }));
                }
                Ok(()) => self.open_again()?,
                Err(TryLockError::WouldBlock) => return Ok(ClaimAttempt::Busy(self)),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }

    /// Says whether the file is still the one that others lock.
    fn has_name(&self) -> io::Result<bool> {
        match &self.path {
            Some(path) => is_at(&self.file, path),
            None => Ok(true),
        }
    }

    fn open_again(&mut self) -> io::Result<()> {
        if let Some(path) = &self.path {
            self.file = open_at(path)?;
        }
        Ok(())
    }
}

fn open(store: &Store, key: ActionKey) -> io::Result<(File, PathBuf)> {
    let hex = key.0.hex();
    let path: PathBuf = store.path(format!("locks/{}/{hex}", &hex[..2]));
    Ok((open_at(&path)?, path))
}

fn open_at(path: &Path) -> io::Result<File> {
    let open = || {
        File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
    };
    match open() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            fs::create_dir_all(path.parent().expect("locks lie below the root"))?;
            open()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_tree::Blake3;

    #[test]
    fn a_claim_that_was_waited_for_is_one_that_others_see() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let key = ActionKey(Blake3::of(b"step"));
        for is_polled in [false, true] {
            let ClaimAttempt::Claimed(first) = claim(&store, key).unwrap() else {
                panic!("nobody else has it");
            };
            let ClaimAttempt::Busy(wait) = claim(&store, key).unwrap() else {
                panic!("the first has it");
            };
            drop(first);
            // A collector comes before the one that waits.
            remove_free_claims(&store).unwrap();
            let _second = if is_polled {
                let ClaimAttempt::Claimed(second) = wait.poll().unwrap() else {
                    panic!("nobody else has it");
                };
                second
            } else {
                wait.wait().unwrap()
            };
            let third = claim(&store, key).unwrap();
            assert!(matches!(third, ClaimAttempt::Busy(_)));
        }
    }

    #[test]
    fn a_claimed_step_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let key = ActionKey(Blake3::of(b"step"));
        let ClaimAttempt::Claimed(first) = claim(&store, key).unwrap() else {
            panic!("it is free");
        };
        let ClaimAttempt::Busy(lock) = claim(&store, key).unwrap() else {
            panic!("it is held");
        };
        let waiter = std::thread::spawn(move || lock.wait().unwrap());
        drop(first);
        drop(waiter.join().unwrap());
        assert!(matches!(
            claim(&store, key).unwrap(),
            ClaimAttempt::Claimed(_)
        ));
    }
}
