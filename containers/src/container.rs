//! One container: looked at, and asked for something while it runs.
//!
//! What takes more than that stands above: removing one (`held`), starting one (`start`), reading
//! what it wrote (`log`).

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kiln_files::remove_tree;

use crate::client::MonitorClient;
use crate::requests::{MonitorAnswer, MonitorRequest};
use crate::spec::Spec;
use crate::state::{ContainerStatus, StoredState};
use crate::{ContainerError, ContainerId, ContainerName, SignalNumber, legacy};

/// How long a process that holds a container may take to start or to release it.
pub(crate) const HOLD_PATIENCE: Duration = Duration::from_secs(10);
pub(crate) const BETWEEN_LOOKS: Duration = Duration::from_millis(2);

/// How a container is asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopPatience {
    /// It is killed after this long; at once if that is zero.
    For(Duration),
    /// It may take as long as it likes.
    Forever,
}

/// One container.
#[derive(Clone, Debug)]
pub struct Container {
    id: ContainerId,
    directory: PathBuf,
}

impl Container {
    pub(crate) fn new(id: ContainerId, directory: PathBuf) -> Self {
        Self { id, directory }
    }

    /// Opens a container by its directory.
    pub(crate) fn open(directory: &Path) -> Result<Self, ContainerError> {
        let directory = fs::canonicalize(directory).map_err(ContainerError::at(directory))?;
        let name = directory
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        match ContainerId::try_from(name.clone()) {
            Ok(id) => Ok(Self { id, directory }),
            Err(_) => Err(ContainerError::NotFound(name)),
        }
    }

    /// Returns its id.
    #[must_use]
    pub fn id(&self) -> &ContainerId {
        &self.id
    }

    /// Returns where its files are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Reads its name.
    ///
    /// # Errors
    /// It was removed, or its files cannot be read.
    pub fn name(&self) -> Result<ContainerName, ContainerError> {
        let path = self.directory.join("name");
        let text = fs::read_to_string(&path).map_err(|source| self.missing(&path, source))?;
        // A name that was lost is made up again.
        Ok(ContainerName::try_from(text).unwrap_or_else(|_| ContainerName::after(&self.id)))
    }

    /// Reads what it is.
    ///
    /// # Errors
    /// It was removed, or its files cannot be read.
    pub fn spec(&self) -> Result<Spec, ContainerError> {
        let path = self.directory.join("spec.json");
        let text = fs::read(&path).map_err(|source| self.missing(&path, source))?;
        let mut spec = legacy::read(&text).map_err(|source| ContainerError::Damaged {
            id: self.id.clone(),
            path,
            source,
        })?;
        // The state directory is two floors above a container's own. What is absolute stays.
        if let Some(home) = self.directory.ancestors().nth(2) {
            for layer in &mut spec.own.layers {
                *layer = home.join(&layer);
            }
        }
        Ok(spec)
    }

    /// Reads what has become of it.
    ///
    /// # Errors
    /// It was removed, or its files cannot be read.
    pub fn state(&self) -> Result<StoredState, ContainerError> {
        let state = self.read_state()?;
        if state.status != ContainerStatus::Running || self.is_held()? {
            return Ok(state);
        }
        // Its monitor may have finished properly in between.
        let state = self.read_state()?;
        Ok(match state.status {
            ContainerStatus::Running => state.abandoned(),
            _ => state,
        })
    }

    /// Reads what became of it when its monitor has hung up without saying so. The kernel closes the
    /// connections of a monitor that was killed first, and its lock a moment later.
    pub(crate) fn state_after_silence(&self) -> Result<StoredState, ContainerError> {
        let until = Instant::now() + HOLD_PATIENCE;
        loop {
            let state = match self.state() {
                Err(ContainerError::NotFound(_)) => return Ok(StoredState::CREATED.abandoned()),
                other => other?,
            };
            if state.status != ContainerStatus::Running || Instant::now() > until {
                return Ok(state);
            }
            std::thread::sleep(BETWEEN_LOOKS);
        }
    }

    /// Says whether a process holds it: its monitor, or the one that has made it and is about to
    /// start it.
    ///
    /// # Errors
    /// It was removed, or its files cannot be read.
    pub fn is_held(&self) -> Result<bool, ContainerError> {
        let path = self.directory.join("lock");
        let lock = File::open(&path).map_err(|source| self.missing(&path, source))?;
        match lock.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(source)) => Err(ContainerError::Io { path, source }),
        }
    }

    /// Says whether its process runs.
    pub(crate) fn is_running(&self) -> io::Result<bool> {
        match self.state() {
            Ok(state) => Ok(state.status == ContainerStatus::Running),
            // Removed.
            Err(ContainerError::NotFound(_)) => Ok(false),
            Err(other) => Err(io::Error::other(other)),
        }
    }

    /// Sends a signal to its first process.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&self, signal: SignalNumber) -> Result<(), ContainerError> {
        let not_running = || ContainerError::NotRunning(self.id.clone());
        let mut client = self.connect()?.ok_or_else(not_running)?;
        match self.ask(&mut client, &MonitorRequest::Signal(signal))? {
            Some(()) => Ok(()),
            None => Err(not_running()),
        }
    }

    /// Asks it to end and waits until it has; kills it when patience ends. It may have ended long
    /// ago.
    ///
    /// # Errors
    /// Its monitor refuses.
    pub fn stop(&self, signal: SignalNumber, patience: StopPatience) -> Result<(), ContainerError> {
        let Some(mut client) = self.connect()? else {
            return Ok(());
        };
        let timeout = match patience {
            StopPatience::Forever => None,
            StopPatience::For(timeout) => Some(timeout),
        };
        let at = || ContainerError::at(&self.directory);
        if timeout != Some(Duration::ZERO) {
            let asked = self.ask(&mut client, &MonitorRequest::Signal(signal))?;
            if asked.is_none() || client.wait(timeout).map_err(at())? {
                return Ok(());
            }
        }
        self.ask(&mut client, &MonitorRequest::Signal(SignalNumber::KILL))?;
        client.wait(None).map_err(at())?;
        Ok(())
    }

    /// Waits until it has ended and returns its state; the last known one if it was removed.
    ///
    /// # Errors
    /// Its files cannot be read.
    pub fn wait(&self) -> Result<StoredState, ContainerError> {
        if let Some(mut client) = self.connect()?
            && self.ask(&mut client, &MonitorRequest::Wait)?.is_some()
        {
            let at = || ContainerError::at(&self.directory);
            client.wait(None).map_err(at())?;
            // Only the monitor knows the state of a container that was removed, or whose state could
            // not be written.
            if let Some(words) = client.last_words().map_err(at())? {
                return Ok(words.state);
            }
            return self.state_after_silence();
        }
        self.state()
    }

    /// Changes the size of its terminal.
    ///
    /// # Errors
    /// It does not run or has no terminal.
    pub fn resize(&self, size: kiln_runtime::WindowSize) -> Result<(), ContainerError> {
        let not_running = || ContainerError::NotRunning(self.id.clone());
        let mut client = self.connect()?.ok_or_else(not_running)?;
        self.ask(&mut client, &MonitorRequest::Resize(size))?
            .ok_or_else(not_running)
    }

    /// Makes the kernel's scratch directory, or empties it.
    pub(crate) fn renew_work_directory(&self) -> Result<(), ContainerError> {
        let work = self.directory.join("work");
        remove_tree(&work)
            .and_then(|()| fs::create_dir(&work))
            .map_err(ContainerError::at(&work))
    }

    fn connect(&self) -> Result<Option<MonitorClient>, ContainerError> {
        MonitorClient::connect(&self.directory).map_err(ContainerError::at(&self.directory))
    }

    /// Asks its monitor; none if it ended instead of answering.
    fn ask(
        &self,
        client: &mut MonitorClient,
        request: &MonitorRequest,
    ) -> Result<Option<()>, ContainerError> {
        match client
            .ask(request)
            .map_err(ContainerError::at(&self.directory))?
        {
            Some(
                MonitorAnswer::Done | MonitorAnswer::Started(_) | MonitorAnswer::NotStarted(_),
            ) => Ok(Some(())),
            Some(MonitorAnswer::Failed(reason)) => Err(ContainerError::Refused {
                id: self.id.clone(),
                reason,
            }),
            None => Ok(None),
        }
    }

    /// Reads the state that was written last. If the machine lost its power while the container ran,
    /// the file may be damaged; then the lock says that it does not run.
    pub(crate) fn read_state(&self) -> Result<StoredState, ContainerError> {
        match self.read_json("state.json") {
            Err(ContainerError::Damaged { .. }) => Ok(StoredState {
                status: ContainerStatus::Running,
                ..StoredState::CREATED
            }),
            other => other,
        }
    }

    fn read_json<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<T, ContainerError> {
        let path = self.directory.join(name);
        let text = fs::read(&path).map_err(|source| self.missing(&path, source))?;
        serde_json::from_slice(&text).map_err(|source| ContainerError::Damaged {
            id: self.id.clone(),
            path,
            source,
        })
    }

    /// Returns the error of a file that could not be read: without it there is no container.
    pub(crate) fn missing(&self, path: &Path, source: io::Error) -> ContainerError {
        match source.kind() {
            io::ErrorKind::NotFound => ContainerError::NotFound(self.id.to_string()),
            _ => ContainerError::at(path)(source),
        }
    }
}
