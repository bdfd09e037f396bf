//! A process that has its namespaces and waits to become the program.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::sys;

/// A process that waits in its new namespaces for what the caller puts into them.
#[derive(Debug)]
pub struct WaitingProcess<'a> {
    process: BorrowedFd<'a>,
    proc: BorrowedFd<'a>,
}

impl<'a> WaitingProcess<'a> {
    pub(super) fn new(process: BorrowedFd<'a>, proc: BorrowedFd<'a>) -> Self {
        Self { process, proc }
    }

    /// Returns a descriptor of the process, which `setns` takes.
    #[must_use]
    pub fn process(&self) -> BorrowedFd<'a> {
        self.process
    }

    /// Opens the process's network namespace; that of the host for a job on the host's network.
    ///
    /// # Errors
    /// The process was killed meanwhile.
    pub fn network(&self) -> io::Result<OwnedFd> {
        // The id is not given to another process until this one is reaped, which only its starter
        // does.
        let id = sys::process_id(self.process).ok_or(Errno::SRCH)?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let path = format!("{id}/ns/net");
        Ok(rustix::fs::openat(self.proc, path, flags, Mode::empty())?)
    }
}
