//! A container that no other process can run or remove meanwhile.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

use kiln_files::remove_tree;

use crate::container::{BETWEEN_LOOKS, Container, HOLD_PATIENCE, StopPatience};
use crate::files::{Reserve, json, settle, write_file};
use crate::state::{ContainerStatus, StoredState};
use crate::{ContainerError, SignalNumber};

/// What happens to a running container that is to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// It is not removed.
    No,
    /// It is killed first.
    Kill,
}

/// A container whose lock this process holds: it is about to run or to be removed, and no other
/// process starts, removes or prunes it.
#[derive(Debug)]
pub struct HeldContainer {
    container: Container,
    /// Room for states to come.
    reserves: Vec<Reserve>,
    lock: File,
}

impl Container {
    /// Takes its lock, to run or to remove it.
    pub(crate) fn hold(&self) -> Result<HeldContainer, ContainerError> {
        let path = self.directory().join("lock");
        let lock = File::options().write(true).open(&path);
        let lock = lock.map_err(|source| self.missing(&path, source))?;
        let until = Instant::now() + HOLD_PATIENCE;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(source)) => {
                    return Err(ContainerError::Io { path, source });
                }
                // Another process reads its state, or is starting it; both are over soon.
                Err(TryLockError::WouldBlock) => {
                    let state = self.read_state()?;
                    if state.status == ContainerStatus::Running || Instant::now() > until {
                        return Err(ContainerError::AlreadyRunning(self.id().clone()));
                    }
                    std::thread::sleep(BETWEEN_LOOKS);
                }
            }
        }
        // It may have been removed while we waited.
        self.read_state()?;
        Ok(HeldContainer::new(self.clone(), lock))
    }

    /// Holds it by a lock that the process which started this one has handed over.
    pub(crate) fn hold_by(&self, lock: File) -> Result<HeldContainer, ContainerError> {
        let path = self.directory().join("lock");
        let own = fs::metadata(&path).map_err(|source| self.missing(&path, source))?;
        let found = lock.metadata().map_err(ContainerError::at(&path))?;
        if (found.dev(), found.ino()) != (own.dev(), own.ino()) {
            return self.hold();
        }
        match lock.try_lock() {
            Ok(()) => Ok(HeldContainer::new(self.clone(), lock)),
            Err(TryLockError::WouldBlock) => Err(ContainerError::AlreadyRunning(self.id().clone())),
            Err(TryLockError::Error(source)) => Err(ContainerError::Io { path, source }),
        }
    }

    /// Removes it with all it wrote.
    ///
    /// # Errors
    /// It runs and is not to be killed, or its files cannot be removed.
    pub fn remove(&self, force: Force) -> Result<(), ContainerError> {
        if self.state()?.status == ContainerStatus::Running {
            match force {
                Force::No => return Err(ContainerError::Running(self.name()?)),
                Force::Kill => {
                    self.stop(SignalNumber::KILL, StopPatience::For(Duration::ZERO))?;
                }
            }
        }
        match self.hold() {
            Ok(mut held) => held.remove(),
            // It removed itself when it ended.
            Err(ContainerError::NotFound(_)) => Ok(()),
            Err(other) => Err(other),
        }
    }
}

impl HeldContainer {
    pub(crate) fn new(container: Container, lock: File) -> Self {
        Self {
            container,
            reserves: Vec::new(),
            lock,
        }
    }

    /// Returns the lock, for a monitor to take over.
    pub(crate) fn lock(&self) -> &File {
        &self.lock
    }

    /// Returns the container.
    #[must_use]
    pub fn container(&self) -> &Container {
        &self.container
    }

    /// Releases the lock.
    #[must_use]
    pub fn release(self) -> Container {
        self.container
    }

    /// Makes sure that two states can be written, that it runs and that it ended, even if the
    /// container fills the disk.
    pub(crate) fn reserve(&mut self) -> Result<(), ContainerError> {
        for name in ["state.running", "state.ended"] {
            let path = self.container.directory().join(name);
            self.reserves.push(Reserve::take(path)?);
        }
        Ok(())
    }

    pub(crate) fn write_state(&mut self, state: &StoredState) -> Result<(), ContainerError> {
        let path = self.container.directory().join("state.json");
        let text = json(&path, state)?;
        match self.reserves.pop() {
            Some(reserve) => reserve.write(&path, &text),
            None => write_file(&path, &text),
        }
    }

    /// Writes its last state, so that it survives a loss of power.
    pub(crate) fn write_end(&mut self, state: &StoredState) -> Result<(), ContainerError> {
        self.write_state(state)?;
        settle(self.container.directory())
    }

    /// Removes the container with all it wrote.
    pub(crate) fn remove(&mut self) -> Result<(), ContainerError> {
        let (id, directory) = (self.container.id(), self.container.directory());
        // Renamed first: whatever happens to its files, it is no container any more.
        let gone = directory.with_file_name(format!("gone-{id}"));
        fs::rename(directory, &gone).map_err(ContainerError::at(directory))?;
        remove_tree(&gone).map_err(ContainerError::at(&gone))
    }
}
