//! Containers on disk.
//!
//! ```text
//! containers/
//!   lock             flock: names are given out one at a time
//!   new-<id>/        being made; left by a crash, removed on sight
//!   gone-<id>/       being removed; likewise
//!   <id>/
//!     name           what it is called
//!     spec.json      what it is
//!     state.json     what has become of it, replaced by rename
//!     lock           flock, held by its monitor: held = running
//!     control        socket of its monitor
//!     log            its output
//!     upper/ work/   its changes, and the kernel's scratch
//!     hosts, resolv.conf, hostname
//! ```
//!
//! A container is there once its directory has its final name, and has all its files then. A state
//! that says *running* is believed only while somebody holds the lock, so neither a killed monitor
//! nor a recycled process id can make a dead container look alive.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use kiln_cache::remove_tree;

use super::control::{Answer, Client, Request};
use super::log::{Follow, LogReader};
use super::monitor::{self, Announcement, Attachment};
use super::state::{Spec, State, Status};
use super::{ContainerId, ContainerName, SignalNumber};
use crate::{Access, EtcFile, Writable};

/// How often a made-up name may be taken already.
const ATTEMPTS: u32 = 6;

/// Why something about a container failed. The texts are Docker's (cli.md sections 0.3 and 5).
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// No container has this name or id.
    #[error("No such container: {0}")]
    NotFound(String),
    /// Several ids start like this.
    #[error("multiple IDs found with provided prefix: {0}")]
    Ambiguous(String),
    /// Another container has the name.
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{by}\". You \
         have to remove (or rename) that container to be able to reuse that name."
    )]
    NameTaken {
        /// The name.
        name: ContainerName,
        /// Who has it.
        by: ContainerId,
    },
    /// It runs already, or is just being started or removed.
    #[error("container {0} is already running")]
    AlreadyRunning(ContainerId),
    /// It does not run.
    #[error("container {0} is not running")]
    NotRunning(ContainerId),
    /// It runs and may not be removed.
    #[error(
        "cannot remove container \"{0}\": container is running: stop the container before \
         removing or force remove"
    )]
    Running(ContainerName),
    /// Its monitor refused.
    #[error("container {id}: {reason}")]
    Refused {
        /// Which.
        id: ContainerId,
        /// Its answer.
        reason: String,
    },
    /// The monitor could not be started, or ended without a word.
    #[error("the monitor of container {0} did not start")]
    NoMonitor(ContainerId),
    /// A file of a container cannot be understood.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// The disk.
    #[error("{}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

impl ContainerError {
    pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// All containers.
#[derive(Clone, Debug)]
pub struct Containers {
    root: PathBuf,
}

impl Containers {
    /// Opens, or makes, a directory of containers.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(root: &Path) -> Result<Self, ContainerError> {
        // An absolute path: monitors go elsewhere.
        fs::create_dir_all(root)
            .and_then(|()| fs::canonicalize(root))
            .map(|root| Self { root })
            .map_err(ContainerError::at(root))
    }

    /// Begins to make a container.
    ///
    /// # Errors
    /// The disk.
    pub fn draft(&self) -> Result<Draft, ContainerError> {
        let _lock = self.lock()?;
        self.sweep()?;
        let id = ContainerId::random();
        let directory = self.root.join(format!("new-{id}"));
        for name in ["upper", "work"] {
            let path = directory.join(name);
            fs::create_dir_all(&path).map_err(ContainerError::at(&path))?;
        }
        // Tells it from a leftover.
        let lock = lock_file(&directory.join("lock"))?;
        lock.lock().map_err(ContainerError::at(&directory))?;
        Ok(Draft {
            id,
            directory,
            is_finished: false,
            _lock: lock,
        })
    }

    /// Gives a draft its name, and so makes it a container. Without a name, one is made up.
    ///
    /// # Errors
    /// The name is taken, or the disk.
    pub fn create(
        &self,
        mut draft: Draft,
        name: Option<ContainerName>,
        spec: &Spec,
    ) -> Result<Container, ContainerError> {
        write_json(&draft.directory.join("spec.json"), spec)?;
        write_json(&draft.directory.join("state.json"), &State::CREATED)?;
        let lock = self.lock()?;
        let others = self.list()?;
        let holder = |name: &ContainerName| {
            others
                .iter()
                .find(|other| other.name().is_ok_and(|taken| taken == *name))
        };
        let name = match name {
            Some(name) => match holder(&name) {
                Some(by) => {
                    return Err(ContainerError::NameTaken {
                        name,
                        by: by.id.clone(),
                    });
                }
                None => name,
            },
            None => (0..=ATTEMPTS)
                .map(ContainerName::made_up)
                .find(|name| holder(name).is_none())
                .unwrap_or_else(|| ContainerName::after(&draft.id)),
        };
        write_file(&draft.directory.join("name"), name.as_str().as_bytes())?;
        let directory = self.root.join(draft.id.as_str());
        fs::rename(&draft.directory, &directory).map_err(ContainerError::at(&directory))?;
        draft.is_finished = true;
        drop(lock);
        Ok(Container {
            id: draft.id.clone(),
            directory,
        })
    }

    /// Renames a container.
    ///
    /// # Errors
    /// The name is taken, or the disk.
    pub fn rename(
        &self,
        container: &Container,
        name: &ContainerName,
    ) -> Result<(), ContainerError> {
        let _lock = self.lock()?;
        for other in self.list()? {
            if other.id != container.id && other.name()? == *name {
                return Err(ContainerError::NameTaken {
                    name: name.clone(),
                    by: other.id,
                });
            }
        }
        write_file(&container.directory.join("name"), name.as_str().as_bytes())
    }

    /// Returns all containers, by id.
    ///
    /// # Errors
    /// The disk.
    pub fn list(&self) -> Result<Vec<Container>, ContainerError> {
        let at_root = || ContainerError::at(&self.root);
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(at_root())? {
            let entry = entry.map_err(at_root())?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Ok(id) = ContainerId::try_from(name) {
                found.push(Container {
                    id,
                    directory: entry.path(),
                });
            }
        }
        found.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(found)
    }

    /// Finds a container by id, name or the beginning of its id, in this order.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn find(&self, reference: &str) -> Result<Container, ContainerError> {
        let all = self.list()?;
        let name = reference.strip_prefix('/').unwrap_or(reference);
        let exact = all
            .iter()
            .find(|container| container.id.as_str() == reference)
            .or_else(|| {
                all.iter()
                    .find(|c| c.name().is_ok_and(|n| n.as_str() == name))
            });
        if let Some(container) = exact {
            return Ok(container.clone());
        }
        let mut matching = all
            .into_iter()
            .filter(|container| container.id.as_str().starts_with(reference));
        match (matching.next(), matching.next()) {
            (Some(only), None) if !reference.is_empty() => Ok(only),
            (Some(_), Some(_)) if !reference.is_empty() => {
                Err(ContainerError::Ambiguous(reference.to_owned()))
            }
            _ => Err(ContainerError::NotFound(reference.to_owned())),
        }
    }

    /// Removes what crashes left behind. The lock is held.
    fn sweep(&self) -> Result<(), ContainerError> {
        for entry in fs::read_dir(&self.root).map_err(ContainerError::at(&self.root))? {
            let path = entry.map_err(ContainerError::at(&self.root))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let is_leftover = (name.starts_with("new-") || name.starts_with("gone-"))
                && File::open(path.join("lock")).is_ok_and(|lock| lock.try_lock().is_ok());
            if is_leftover {
                // Its remover may be at it still; whoever comes next tries again.
                let _ = remove_tree(&path);
            }
        }
        Ok(())
    }

    fn lock(&self) -> Result<File, ContainerError> {
        lock_file(&self.root.join("lock")).and_then(|file| {
            file.lock().map_err(ContainerError::at(&self.root))?;
            Ok(file)
        })
    }
}

/// A container that is being made: an id and a directory. Removed unless it is finished by
/// [`Containers::create`].
#[derive(Debug)]
pub struct Draft {
    id: ContainerId,
    directory: PathBuf,
    is_finished: bool,
    _lock: File,
}

impl Draft {
    /// Returns the id the container will have.
    #[must_use]
    pub fn id(&self) -> &ContainerId {
        &self.id
    }

    /// Returns where the container will keep its changes.
    #[must_use]
    pub fn writable(&self) -> Writable {
        let directory = self.final_directory();
        Writable {
            upper: directory.join("upper"),
            work: directory.join("work"),
        }
    }

    /// Writes a file that the container will show below `/etc`, where it may change it.
    ///
    /// # Errors
    /// The disk.
    pub fn etc_file(&self, name: &str, text: &str) -> Result<EtcFile, ContainerError> {
        write_file(&self.directory.join(name), text.as_bytes())?;
        Ok(EtcFile::File {
            path: self.final_directory().join(name),
            access: Access::ReadWrite,
        })
    }

    fn final_directory(&self) -> PathBuf {
        self.directory.with_file_name(self.id.as_str())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_finished {
            // What stays is swept later.
            let _ = remove_tree(&self.directory);
        }
    }
}

/// How a container is asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// It is killed after this long; at once if that is zero.
    For(Duration),
    /// It may take as long as it likes.
    Forever,
}

/// What happens to a running container that is to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// It is not removed.
    No,
    /// It is killed first.
    Kill,
}

/// One container.
#[derive(Clone, Debug)]
pub struct Container {
    id: ContainerId,
    directory: PathBuf,
}

impl Container {
    /// Opens a container by its directory.
    pub(super) fn open(directory: &Path) -> Result<Self, ContainerError> {
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
    /// It was removed, or the disk.
    pub fn name(&self) -> Result<ContainerName, ContainerError> {
        let path = self.directory.join("name");
        let text = fs::read_to_string(&path).map_err(|source| self.missing(&path, source))?;
        ContainerName::try_from(text).map_err(|_| ContainerError::NotFound(self.id.to_string()))
    }

    /// Reads what it is.
    ///
    /// # Errors
    /// It was removed, or the disk.
    pub fn spec(&self) -> Result<Spec, ContainerError> {
        self.read_json("spec.json")
    }

    /// Reads what has become of it.
    ///
    /// # Errors
    /// It was removed, or the disk.
    pub fn state(&self) -> Result<State, ContainerError> {
        let state: State = self.read_json("state.json")?;
        if state.status != Status::Running || self.is_held()? {
            return Ok(state);
        }
        // Its monitor may have finished properly in between.
        let state: State = self.read_json("state.json")?;
        Ok(match state.status {
            Status::Running => state.abandoned(),
            _ => state,
        })
    }

    /// Says whether its process runs.
    pub(super) fn is_running(&self) -> io::Result<bool> {
        match self.state() {
            Ok(state) => Ok(state.status == Status::Running),
            // Removed.
            Err(ContainerError::NotFound(_)) => Ok(false),
            Err(other) => Err(io::Error::other(other)),
        }
    }

    /// Runs it here, to its end. `attachment` connects it to the user.
    ///
    /// # Errors
    /// It runs already, or the disk. What goes wrong inside is in the state.
    pub fn run(&self, attachment: Attachment<'_>) -> Result<State, ContainerError> {
        monitor::run(self.hold()?, attachment, |_| {})
    }

    /// Starts it with a monitor of its own: `command` is a program that enters its namespaces and
    /// calls [`monitor::main`] with this container's directory. Returns once it runs, or with the
    /// state that says why it does not.
    ///
    /// # Errors
    /// The monitor could not be started.
    pub fn start_detached(&self, mut command: Command) -> Result<State, ContainerError> {
        if self.state()?.status == Status::Running {
            return Err(ContainerError::AlreadyRunning(self.id.clone()));
        }
        let mut monitor = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .current_dir("/")
            // Out of reach of the keys of this terminal.
            .process_group(0)
            .spawn()
            .map_err(ContainerError::at(Path::new(command.get_program())))?;
        let mut line = String::new();
        if let Some(stdout) = monitor.stdout.take() {
            let path = &self.directory;
            BufReader::new(stdout)
                .read_line(&mut line)
                .map_err(ContainerError::at(path))?;
        }
        match serde_json::from_str(&line) {
            Ok(Announcement::Started) => self.state(),
            Ok(Announcement::Failed(state)) => Ok(state),
            Err(_) => {
                // It is ending or never began.
                let _ = monitor.wait();
                Err(ContainerError::NoMonitor(self.id.clone()))
            }
        }
    }

    /// Sends a signal to its first process.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&self, signal: SignalNumber) -> Result<(), ContainerError> {
        let not_running = || ContainerError::NotRunning(self.id.clone());
        let mut client = self.connect()?.ok_or_else(not_running)?;
        match self.ask(&mut client, &Request::Signal(signal))? {
            Some(()) => Ok(()),
            None => Err(not_running()),
        }
    }

    /// Asks it to end and waits until it has; kills it when patience ends. It may have ended long
    /// ago.
    ///
    /// # Errors
    /// Its monitor refuses.
    pub fn stop(&self, signal: SignalNumber, patience: Patience) -> Result<(), ContainerError> {
        let Some(mut client) = self.connect()? else {
            return Ok(());
        };
        let timeout = match patience {
            Patience::Forever => None,
            Patience::For(timeout) => Some(timeout),
        };
        let at = || ContainerError::at(&self.directory);
        if timeout != Some(Duration::ZERO) {
            let asked = self.ask(&mut client, &Request::Signal(signal))?;
            if asked.is_none() || client.wait(timeout).map_err(at())? {
                return Ok(());
            }
        }
        self.ask(&mut client, &Request::Signal(SignalNumber::KILL))?;
        client.wait(None).map_err(at())?;
        Ok(())
    }

    /// Waits until it has ended and returns its state; the last known one if it was removed.
    ///
    /// # Errors
    /// The disk.
    pub fn wait(&self) -> Result<State, ContainerError> {
        if let Some(mut client) = self.connect()?
            && self.ask(&mut client, &Request::Wait)?.is_some()
        {
            client
                .wait(None)
                .map_err(ContainerError::at(&self.directory))?;
        }
        self.state()
    }

    /// Changes the size of its terminal.
    ///
    /// # Errors
    /// It does not run or has no terminal.
    pub fn resize(&self, size: crate::WindowSize) -> Result<(), ContainerError> {
        let not_running = || ContainerError::NotRunning(self.id.clone());
        let mut client = self.connect()?.ok_or_else(not_running)?;
        self.ask(&mut client, &Request::Resize(size))?
            .ok_or_else(not_running)
    }

    /// Opens its log.
    ///
    /// # Errors
    /// The disk.
    pub fn logs(&self, follow: Follow) -> Result<LogReader, ContainerError> {
        LogReader::open(self, follow).map_err(|source| self.missing(&self.directory, source))
    }

    /// Removes it with all it wrote.
    ///
    /// # Errors
    /// It runs and is not to be killed, or the disk.
    pub fn remove(&self, force: Force) -> Result<(), ContainerError> {
        if self.state()?.status == Status::Running {
            match force {
                Force::No => return Err(ContainerError::Running(self.name()?)),
                Force::Kill => {
                    self.stop(SignalNumber::KILL, Patience::For(Duration::ZERO))?;
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

    /// Takes its lock, to run or to remove it.
    pub(super) fn hold(&self) -> Result<Held, ContainerError> {
        let before: State = self.read_json("state.json")?;
        let path = self.directory.join("lock");
        let lock = lock_file(&path)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) if before.status != Status::Running => {
                // Somebody looks, which is over at once, or is starting it just now.
                lock.lock().map_err(ContainerError::at(&path))?;
                if self.read_json::<State>("state.json")? != before {
                    return Err(ContainerError::AlreadyRunning(self.id.clone()));
                }
            }
            Err(TryLockError::WouldBlock) => {
                return Err(ContainerError::AlreadyRunning(self.id.clone()));
            }
            Err(TryLockError::Error(source)) => return Err(ContainerError::Io { path, source }),
        }
        // It may have been removed while we waited.
        self.read_json::<State>("state.json")?;
        Ok(Held {
            container: self.clone(),
            _lock: lock,
        })
    }

    fn is_held(&self) -> Result<bool, ContainerError> {
        let path = self.directory.join("lock");
        let lock = lock_file(&path).map_err(|_| ContainerError::NotFound(self.id.to_string()))?;
        match lock.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(source)) => Err(ContainerError::Io { path, source }),
        }
    }

    /// Empties the kernel's scratch directory.
    pub(super) fn renew_work_directory(&self) -> Result<(), ContainerError> {
        let work = self.directory.join("work");
        remove_tree(&work)
            .and_then(|()| fs::create_dir(&work))
            .map_err(ContainerError::at(&work))
    }

    fn connect(&self) -> Result<Option<Client>, ContainerError> {
        Client::connect(&self.directory).map_err(ContainerError::at(&self.directory))
    }

    /// Asks its monitor; none if it ended instead of answering.
    fn ask(&self, client: &mut Client, request: &Request) -> Result<Option<()>, ContainerError> {
        match client
            .ask(request)
            .map_err(ContainerError::at(&self.directory))?
        {
            Some(Answer::Done) => Ok(Some(())),
            Some(Answer::Failed(reason)) => Err(ContainerError::Refused {
                id: self.id.clone(),
                reason,
            }),
            None => Ok(None),
        }
    }

    fn read_json<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<T, ContainerError> {
        let path = self.directory.join(name);
        let text = fs::read(&path).map_err(|source| self.missing(&path, source))?;
        serde_json::from_slice(&text).map_err(|source| ContainerError::Damaged { path, source })
    }

    fn missing(&self, path: &Path, source: io::Error) -> ContainerError {
        match source.kind() {
            io::ErrorKind::NotFound => ContainerError::NotFound(self.id.to_string()),
            _ => ContainerError::at(path)(source),
        }
    }
}

/// A container whose lock this process holds.
#[derive(Debug)]
pub(super) struct Held {
    container: Container,
    _lock: File,
}

impl Held {
    pub(super) fn container(&self) -> &Container {
        &self.container
    }

    pub(super) fn write_state(&mut self, state: &State) -> Result<(), ContainerError> {
        write_json(&self.container.directory.join("state.json"), state)
    }

    pub(super) fn remove(&mut self) -> Result<(), ContainerError> {
        let Container { id, directory } = &self.container;
        // It is gone at once, whatever happens to its files.
        let gone = directory.with_file_name(format!("gone-{id}"));
        fs::rename(directory, &gone).map_err(ContainerError::at(directory))?;
        remove_tree(&gone).map_err(ContainerError::at(&gone))
    }
}

fn lock_file(path: &Path) -> Result<File, ContainerError> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(ContainerError::at(path))
}

fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<(), ContainerError> {
    let text = serde_json::to_vec_pretty(value).map_err(|source| ContainerError::Damaged {
        path: path.to_owned(),
        source,
    })?;
    write_file(path, &text)
}

/// Replaces a file, so that a reader sees the old or the new one.
fn write_file(path: &Path, text: &[u8]) -> Result<(), ContainerError> {
    let new = path.with_extension("new");
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, path))
        .map_err(ContainerError::at(path))
}
