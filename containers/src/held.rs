//! A container that nobody else can run or remove meanwhile.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use kiln_files::remove_tree;

use crate::files::{Reserve, json, settle, write_file};
use crate::monitor::{self, Announcement, Attachment, Attended};
use crate::state::{Removal, State};
use crate::{Container, ContainerError};

/// A container whose lock this process holds: it is about to run or to go, and nobody takes it for
/// one that is of no use.
#[derive(Debug)]
pub struct Held {
    container: Container,
    /// Room for states to come.
    reserves: Vec<Reserve>,
    lock: File,
}

impl Held {
    pub(crate) fn new(container: Container, lock: File) -> Self {
        Self {
            container,
            reserves: Vec::new(),
            lock,
        }
    }

    /// Returns the container.
    #[must_use]
    pub fn container(&self) -> &Container {
        &self.container
    }

    /// Lets go of it.
    #[must_use]
    pub fn release(self) -> Container {
        self.container
    }

    /// As [`Container::run`].
    ///
    /// # Errors
    /// The disk. What goes wrong inside is in the state.
    pub fn run(self, attachment: Attachment<'_>) -> Result<Attended, ContainerError> {
        monitor::run(self, attachment, |_| {})
    }

    /// As [`Container::start_detached`].
    ///
    /// # Errors
    /// The monitor could not be started.
    pub fn start_detached(self, mut command: Command) -> Result<State, ContainerError> {
        let container = self.container;
        let mut monitor = command
            // The lock itself: nobody can come in between.
            .stdin(Stdio::from(self.lock))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .current_dir("/")
            // Out of reach of the keys of this terminal.
            .process_group(0)
            .spawn()
            .map_err(ContainerError::at(Path::new(command.get_program())))?;
        drop(command);
        let mut line = String::new();
        if let Some(stdout) = monitor.stdout.take() {
            BufReader::new(stdout)
                .read_line(&mut line)
                .map_err(ContainerError::at(container.directory()))?;
        }
        match serde_json::from_str(&line) {
            Ok(Announcement::Started(state) | Announcement::Failed(state)) => {
                // Whoever is told that it runs finds it after a loss of power. One that removes
                // itself may be gone by now, and would not stay anyway.
                match container.spec() {
                    Ok(spec) if spec.removal == Removal::ByHand => {
                        settle(container.directory())?;
                    }
                    _ => {}
                }
                Ok(state)
            }
            Ok(Announcement::Refused(reason)) => Err(ContainerError::Refused {
                id: container.id().clone(),
                reason,
            }),
            Err(_) => {
                // It is ending or never began.
                let _ = monitor.wait();
                Err(ContainerError::NoMonitor(container.id().clone()))
            }
        }
    }

    /// Makes sure that two states can be written, that it runs and that it ended, though the
    /// container itself may fill the disk.
    pub(crate) fn reserve(&mut self) -> Result<(), ContainerError> {
        for name in ["state.running", "state.ended"] {
            let path = self.container.directory().join(name);
            self.reserves.push(Reserve::take(path)?);
        }
        Ok(())
    }

    pub(crate) fn write_state(&mut self, state: &State) -> Result<(), ContainerError> {
        let path = self.container.directory().join("state.json");
        let text = json(&path, state)?;
        match self.reserves.pop() {
            Some(reserve) => reserve.write(&path, &text),
            None => write_file(&path, &text),
        }
    }

    /// Writes down what became of it at last, for good.
    pub(crate) fn write_end(&mut self, state: &State) -> Result<(), ContainerError> {
        self.write_state(state)?;
        settle(self.container.directory())
    }

    pub(crate) fn remove(&mut self) -> Result<(), ContainerError> {
        let (id, directory) = (self.container.id(), self.container.directory());
        // It is gone at once, whatever happens to its files.
        let gone = directory.with_file_name(format!("gone-{id}"));
        fs::rename(directory, &gone).map_err(ContainerError::at(directory))?;
        remove_tree(&gone).map_err(ContainerError::at(&gone))
    }
}
