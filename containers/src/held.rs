//! A container that nobody else can run or remove meanwhile.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

use kiln_files::remove_tree;

use crate::attach::{Attachment, Attended, Session};
use crate::client::Client;
use crate::farewell::Farewell;
use crate::files::{Reserve, json, settle, write_file};
use crate::requests::{Answer, Request};
use crate::spec::Removal;
use crate::state::State;
use crate::{Container, ContainerError, Monitor};

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
    /// The monitor could not be started. What goes wrong inside is in the state.
    pub fn run(
        self,
        monitor: Monitor,
        attachment: Attachment<'_>,
    ) -> Result<Attended, ContainerError> {
        let container = self.container.clone();
        let spec = container.spec()?;
        let at = || ContainerError::at(container.directory());
        let (ours, theirs) = UnixStream::pair().map_err(at())?;
        let request = Request::Attach {
            input: attachment.input.is_some(),
        };
        let client = self.hand_over(monitor, Some((&request, theirs)))?;
        let farewell = Farewell::new(&container, &spec);
        Session::new(
            &container,
            client,
            ours,
            attachment,
            farewell,
            spec.framing(),
        )
        .map_err(at())?
        .attend()
    }

    /// As [`Container::start_detached`].
    ///
    /// # Errors
    /// The monitor could not be started.
    pub fn start_detached(self, monitor: Monitor) -> Result<State, ContainerError> {
        let container = self.container.clone();
        let mut client = self.hand_over(monitor, None)?;
        let answer = client.next_answer();
        match answer.map_err(ContainerError::at(container.directory()))? {
            Some(Answer::Started(state) | Answer::NotStarted(state)) => {
                // Whoever is told that it runs finds it after a loss of power. One that removes
                // itself may be gone by now, and would not stay anyway.
                match container.spec() {
                    Ok(spec) if spec.removal() == Removal::ByHand => {
                        settle(container.directory())?;
                    }
                    _ => {}
                }
                Ok(state)
            }
            Some(Answer::Failed(reason)) => Err(ContainerError::Refused {
                id: container.id().clone(),
                reason,
            }),
            // It is ending or never began.
            Some(Answer::Done) | None => Err(ContainerError::NoMonitor(container.id().clone())),
        }
    }

    /// Gives the container to a monitor and asks that to start it; before that, somebody may be
    /// attached.
    fn hand_over(
        self,
        monitor: Monitor,
        attached: Option<(&Request, UnixStream)>,
    ) -> Result<Client, ContainerError> {
        let hand_over = || {
            // The lock itself: nobody can come in between.
            let client = Client::new(monitor.take_over(&self.lock)?);
            if let Some((request, socket)) = attached {
                client.send_with(request, socket.as_fd())?;
            }
            client.send(&Request::Start)?;
            Ok(client)
        };
        hand_over().map_err(|error: io::Error| match error.kind() {
            io::ErrorKind::BrokenPipe => ContainerError::NoMonitor(self.container.id().clone()),
            _ => ContainerError::at(self.container.directory())(error),
        })
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
