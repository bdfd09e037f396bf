//! What a new process reports before it becomes the program, or fails to.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags};

use super::sockets::Sockets;
use crate::sys::{HEAD_BYTES, RECORD_BYTES, Record};

/// The reports of one process, as they arrive.
#[derive(Debug)]
pub(super) struct Report {
    /// Where they come from; none when no more will come.
    from: Option<OwnedFd>,
    /// The candidate that is being executed.
    attempt: Option<Record>,
    failure: Option<Record>,
    /// The beginning of the file that the kernel refused to execute; follows its record.
    head: Vec<u8>,
}

impl Report {
    pub(super) fn new(from: OwnedFd) -> Self {
        Self {
            from: Some(from),
            attempt: None,
            failure: None,
            head: Vec::new(),
        }
    }

    /// Returns what is readable when there is something to read; none at the end.
    pub(super) fn source(&self) -> Option<BorrowedFd<'_>> {
        self.from.as_ref().map(|from| from.as_fd())
    }

    /// Returns why the process could not become the program, and the beginning of the file that was
    /// refused, as far as it is known.
    pub(super) fn failure(&self) -> Option<(Record, &[u8])> {
        self.failure.map(|record| (record, self.head.as_slice()))
    }

    /// Lets a process go on that waits. One that has failed meanwhile says so itself.
    pub(super) fn release(&self) -> Result<(), Errno> {
        let Some(to) = &self.from else {
            return Ok(());
        };
        let sent = rustix::io::retry_on_intr(|| rustix::net::send(to, b"g", SendFlags::NOSIGNAL));
        match sent {
            Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Reads what has arrived.
    pub(super) fn read(&mut self, sockets: &mut Sockets) -> Result<(), Errno> {
        let Some(from) = self.from.take() else {
            return Ok(());
        };
        if self.read_from(&from, sockets)? {
            self.from = Some(from);
        }
        Ok(())
    }

    /// Reads what has arrived; says whether more may come.
    fn read_from(&mut self, from: &OwnedFd, sockets: &mut Sockets) -> Result<bool, Errno> {
        if self.failure.is_some() {
            let mut bytes = [0; HEAD_BYTES as usize];
            let length = rustix::io::retry_on_intr(|| rustix::io::read(from, &mut bytes))?;
            self.head.extend_from_slice(&bytes[..length]);
            return Ok(length > 0);
        }
        if let Some(attempt) = self.attempt {
            let mut answer = [0; size_of::<i32>()];
            let length = rustix::io::retry_on_intr(|| rustix::io::read(from, &mut answer))?;
            if length < answer.len() {
                return Ok(false);
            }
            let value = i32::from_ne_bytes(answer);
            self.failure = Some(Record { value, ..attempt });
            return Ok(true);
        }
        let mut bytes = [0; RECORD_BYTES];
        let (length, listener) = receive(from, &mut bytes)?;
        if length < RECORD_BYTES {
            return Ok(false);
        }
        match Record::from_bytes(&bytes) {
            Some(record) if record.is_listening() => sockets.listen(listener),
            Some(record) if record.is_attempt() => self.attempt = Some(record),
            other => self.failure = other,
        }
        Ok(true)
    }
}

/// Reads a message, and a descriptor that may have come along.
fn receive(from: &OwnedFd, bytes: &mut [u8]) -> Result<(usize, Option<OwnedFd>), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let message = rustix::io::retry_on_intr(|| {
        let mut bytes = [IoSliceMut::new(bytes)];
        rustix::net::recvmsg(from, &mut bytes, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
    })?;
    let mut descriptors = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok((message.bytes, descriptors.next()))
}
