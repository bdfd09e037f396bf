//! Single flight: of several kilns that want to run one step, one runs it and the others wait for
//! its record.
//!
//! A claim is a flock on a file named by the key, so it ends with the process that holds it,
//! whatever ends that. The files are empty and stay; collecting garbage removes them.

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::PathBuf;

use crate::{ActionKey, Store};

/// The right to run a step, until dropped.
#[derive(Debug)]
pub struct Claim {
    /// Held for its lock; none where locks do not work.
    _lock: File,
}

/// What became of an attempt to claim a step.
#[derive(Debug)]
pub enum Attempt {
    /// Nobody else is running it.
    Claimed(Claim),
    /// Another thread or process is; wait with [`Flight::wait`].
    Busy(Flight),
}

/// A step that somebody is running.
#[derive(Debug)]
pub struct Flight {
    file: File,
}

/// Tries to claim the step named by `key`.
///
/// # Errors
/// When the lock file cannot be made or locked.
pub fn claim(store: &Store, key: ActionKey) -> io::Result<Attempt> {
    let file = open(store, key)?;
    match file.try_lock() {
        Ok(()) => Ok(Attempt::Claimed(Claim { _lock: file })),
        Err(TryLockError::WouldBlock) => Ok(Attempt::Busy(Flight { file })),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

impl Flight {
    /// Waits for another lock than that of a step.
    pub(crate) fn of(file: File) -> Self {
        Self { file }
    }

    /// Waits until the others are done and takes the claim. Look for the record then.
    ///
    /// # Errors
    /// When locking fails.
    pub fn wait(self) -> io::Result<Claim> {
        self.file.lock()?;
        Ok(Claim { _lock: self.file })
    }

    /// Takes the claim if the others are done.
    ///
    /// # Errors
    /// When locking fails.
    pub fn poll(self) -> io::Result<Attempt> {
        match self.file.try_lock() {
            Ok(()) => Ok(Attempt::Claimed(Claim { _lock: self.file })),
            Err(TryLockError::WouldBlock) => Ok(Attempt::Busy(self)),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

fn open(store: &Store, key: ActionKey) -> io::Result<File> {
    let hex = key.0.hex();
    let path: PathBuf = store.path(format!("locks/{}/{hex}", &hex[..2]));
    let open = || {
        File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
    };
    match open() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            std::fs::create_dir_all(path.parent().expect("locks lie below the root"))?;
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
    fn one_runs_and_the_other_waits() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let key = ActionKey(Blake3::of(b"step"));
        let Attempt::Claimed(first) = claim(&store, key).unwrap() else {
            panic!("nobody holds it");
        };
        let Attempt::Busy(flight) = claim(&store, key).unwrap() else {
            panic!("it is held");
        };
        let waiter = std::thread::spawn(move || flight.wait().unwrap());
        drop(first);
        drop(waiter.join().unwrap());
        assert!(matches!(claim(&store, key).unwrap(), Attempt::Claimed(_)));
    }
}
