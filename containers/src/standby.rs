//! A monitor that waits for its container.
//!
//! The program takes a moment to start and to enter its namespaces, so it is started before there is
//! a container, and is ready when the container is made. With the container's lock it becomes its
//! monitor; if it gets none, it ends.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

use crate::ContainerError;

/// A monitor that waits for its container. Dropped, it ends.
#[derive(Debug)]
pub struct Monitor {
    connection: UnixStream,
}

impl Monitor {
    /// Starts a monitor: `command` is a program that enters its namespaces and calls
    /// [`crate::monitor::main`] with the directory that the container has or will have.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start(mut command: Command) -> Result<Self, ContainerError> {
        let at_program = |command: &Command| {
            let program = Path::new(command.get_program()).to_owned();
            move |source| ContainerError::Io {
                path: program,
                source,
            }
        };
        let (connection, theirs) = UnixStream::pair().map_err(at_program(&command))?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::from(OwnedFd::from(theirs)))
            .stderr(Stdio::null())
            .current_dir("/")
            // So that keys of this terminal send it no signals.
            .process_group(0)
            .spawn()
            .map_err(kiln_threads::cannot_start)
            .map_err(at_program(&command))?;
        Ok(Self { connection })
    }

    /// Makes it the monitor of the container whose lock that is. Requests go over the connection
    /// from now on.
    pub(crate) fn take_over(self, lock: &File) -> io::Result<UnixStream> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let descriptors = [lock.as_fd()];
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
        let bytes = [IoSlice::new(b"l")];
        rustix::io::retry_on_intr(|| {
            rustix::net::sendmsg(
                &self.connection,
                &bytes,
                &mut ancillary,
                SendFlags::NOSIGNAL,
            )
        })?;
        Ok(self.connection)
    }
}

/// Waits for a container's lock; none if there will be none.
pub(crate) fn receive_lock(starter: &UnixStream) -> io::Result<Option<File>> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    rustix::io::retry_on_intr(|| {
        let mut bytes = [IoSliceMut::new(&mut byte)];
        rustix::net::recvmsg(starter, &mut bytes, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
    })?;
    let lock = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok(lock.map(File::from))
}
