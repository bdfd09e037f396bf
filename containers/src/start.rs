//! Starting a container: its monitor gets it, and this process may stay attached.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

use crate::attach::{AttachSession, Attachment, Attended};
use crate::client::MonitorClient;
use crate::container::Container;
use crate::files::settle;
use crate::foreground_stop::ForegroundStop;
use crate::held::HeldContainer;
use crate::requests::{MonitorAnswer, MonitorRequest};
use crate::spec::Removal;
use crate::state::StoredState;
use crate::{ContainerError, Monitor};

impl Container {
    /// Starts it and stays with it to its end. `attachment` connects it to the user. Whatever becomes
    /// of this process, the container goes on.
    ///
    /// # Errors
    /// It runs already, or the monitor could not be started. What goes wrong inside is in the state.
    pub fn run(
        &self,
        monitor: Monitor,
        attachment: Attachment<'_>,
    ) -> Result<Attended, ContainerError> {
        self.hold()?.run(monitor, attachment)
    }

    /// Starts it. Returns once it runs, or with the state that says why it does not.
    ///
    /// # Errors
    /// It runs already, or the monitor could not be started.
    pub fn start_detached(&self, monitor: Monitor) -> Result<StoredState, ContainerError> {
        self.hold()?.start_detached(monitor)
    }
}

impl HeldContainer {
    /// As [`Container::run`].
    ///
    /// # Errors
    /// The monitor could not be started. What goes wrong inside is in the state.
    pub fn run(
        self,
        monitor: Monitor,
        attachment: Attachment<'_>,
    ) -> Result<Attended, ContainerError> {
        let container = self.container().clone();
        let spec = container.spec()?;
        let at = || ContainerError::at(container.directory());
        let (ours, theirs) = UnixStream::pair().map_err(at())?;
        let request = MonitorRequest::Attach {
            input: attachment.input.is_some(),
        };
        let client = self.hand_over(monitor, Some((&request, theirs)))?;
        let foreground_stop = ForegroundStop::new(&container, &spec);
        AttachSession::new(
            &container,
            client,
            ours,
            attachment,
            foreground_stop,
            spec.framing(),
        )
        .map_err(at())?
        .attend()
    }

    /// As [`Container::start_detached`].
    ///
    /// # Errors
    /// The monitor could not be started.
    pub fn start_detached(self, monitor: Monitor) -> Result<StoredState, ContainerError> {
        let container = self.container().clone();
        let mut client = self.hand_over(monitor, None)?;
        let answer = client.next_answer();
        match answer.map_err(ContainerError::at(container.directory()))? {
            Some(MonitorAnswer::Started(state) | MonitorAnswer::NotStarted(state)) => {
                // A container that was said to run is there after a loss of power. One that removes
                // itself may be gone by now, and would not stay anyway.
                match container.spec() {
                    Ok(spec) if spec.removal() == Removal::ByHand => {
                        settle(container.directory())?;
                    }
                    _ => {}
                }
                Ok(state)
            }
            Some(MonitorAnswer::Failed(reason)) => Err(ContainerError::Refused {
                id: container.id().clone(),
                reason,
            }),
            // It is ending or never began.
            Some(MonitorAnswer::Done) | None => {
                Err(ContainerError::NoMonitor(container.id().clone()))
            }
        }
    }

    /// Gives the container to a monitor and asks that to start it; before that, this process
    /// may be attached.
    fn hand_over(
        self,
        monitor: Monitor,
        attached: Option<(&MonitorRequest, UnixStream)>,
    ) -> Result<MonitorClient, ContainerError> {
        let hand_over = || {
            // The lock itself is handed over: no other process can take it in between.
            let client = MonitorClient::new(monitor.take_over(self.lock())?);
            if let Some((request, socket)) = attached {
                client.send_with(request, socket.as_fd())?;
            }
            client.send(&MonitorRequest::Start)?;
            Ok(client)
        };
        hand_over().map_err(|error: io::Error| match error.kind() {
            io::ErrorKind::BrokenPipe => ContainerError::NoMonitor(self.container().id().clone()),
            _ => ContainerError::at(self.container().directory())(error),
        })
    }
}
