//! Carries a job's output and waits for its end.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

use super::closing::{self, AtEnd};
use super::failure::explain;
use super::prepare::Running;
use super::sockets::Sockets;
use super::streams::{OurStreams, Read};
use super::{Output, Stream};
use crate::sys::{Ending, HEAD_BYTES, RECORD_BYTES, Record};
use crate::{Cancel, End, ExecError, Observed, Outcome};

/// The default capacity of a pipe.
const CHUNK_BYTES: usize = 64 << 10;

/// Runs a started job to its end.
pub(super) fn supervise(
    mut running: Running,
    output: &mut dyn Output,
    cancel: &Cancel,
) -> Result<Outcome, ExecError> {
    match watch(&mut running, output, cancel) {
        Ok((ended, cancelled)) => finish(running, ended, cancelled),
        Err(errno) => Err(running.abandon(errno)),
    }
}

/// What a child said before it became the program, or failed to.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// The candidate that is being executed.
    attempt: Option<Record>,
    failure: Option<Record>,
    /// The beginning of the file that the kernel refused to execute; follows its record.
    head: Vec<u8>,
}

impl Report {
    /// Says whether the process could not become the program.
    pub(crate) fn is_failure(&self) -> bool {
        self.failure.is_some()
    }

    /// Reads what has arrived; says whether more may come.
    pub(crate) fn read(&mut self, from: &OwnedFd, sockets: &mut Sockets) -> Result<bool, Errno> {
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

/// How the process itself ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) report: Report,
    pub(crate) status: Ending,
}

fn watch(
    running: &mut Running,
    output: &mut dyn Output,
    cancel: &Cancel,
) -> Result<(Ended, bool), Errno> {
    let mut report = Report::default();
    let mut reports = true;
    let mut cancelled = false;
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut open = vec![Stream::Stdout, Stream::Stderr];
    if matches!(running.streams, OurStreams::Terminal(_)) {
        open.pop();
    }
    loop {
        let mut events: Vec<PollFd<'_>> = open
            .iter()
            .map(|stream| running.streams.output(*stream))
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        events.push(PollFd::new(&running.process.pidfd, PollFlags::IN));
        if reports {
            events.push(PollFd::new(&running.report, PollFlags::IN));
        }
        if !cancelled {
            events.push(PollFd::new(cancel, PollFlags::IN));
        }
        let listens = running.sockets.listener();
        events.extend(listens.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        let listens = listens.is_some();
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut events, None))?;
        let ready: Vec<bool> = events.iter().map(|e| !e.revents().is_empty()).collect();
        drop(events);
        let streams = open.len();
        let mut over = Vec::new();
        for (&stream, _) in open.iter().zip(&ready).filter(|(_, ready)| **ready) {
            match running.streams.read(stream, &mut buffer)? {
                Read::Bytes(bytes) => output.chunk(stream, bytes),
                Read::Nothing => {}
                Read::End => over.push(stream),
            }
        }
        open.retain(|stream| !over.contains(stream));
        let mut rest = ready[streams..].iter().copied();
        let ended = rest.next().unwrap_or(false);
        if reports && rest.next().unwrap_or(false) {
            reports = report.read(&running.report, &mut running.sockets)?;
        }
        if !cancelled && rest.next().unwrap_or(false) {
            running.process.kill();
            cancelled = true;
        }
        if listens && rest.next().unwrap_or(false) {
            running.sockets.answer(&running.groups);
        }
        if ended {
            break;
        }
    }
    let status = running.process.reap()?;
    // The end of a process namespace's first process is the end of all in it.
    for stream in open {
        running.streams.read_rest(stream, &mut buffer, |bytes| {
            output.chunk(stream, bytes);
            true
        })?;
    }
    while reports && is_readable(running.report.as_fd())? {
        reports = report.read(&running.report, &mut running.sockets)?;
    }
    Ok((Ended { report, status }, cancelled))
}

pub(crate) fn is_readable(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mut event = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    let ready = rustix::io::retry_on_intr(|| rustix::event::poll(&mut event, Some(&now)))?;
    Ok(ready > 0)
}

impl Running {
    /// Ends a process that cannot be watched: without a view of it there is no point in letting it
    /// run.
    pub(crate) fn abandon(mut self, errno: Errno) -> ExecError {
        self.process.kill();
        let _ = self.process.reap();
        self.plan.stubs.remove();
        self.groups.remove_limits();
        ExecError::prepare("watching the process")(errno)
    }
}

/// Cleans up and sums up.
pub(crate) fn finish(
    mut running: Running,
    ended: Ended,
    cancelled: bool,
) -> Result<Outcome, ExecError> {
    running.plan.stubs.remove();
    let out_of_memory = running.groups.remove_limits();
    let end = match (ended.report.failure, ended.status) {
        _ if cancelled => End::Cancelled,
        (Some(record), _) => explain(&running.plan, record, &ended.report.head)?,
        (None, Ending::Exited(code)) => End::Exited(code),
        (None, Ending::Killed(signal)) => End::Killed(signal),
    };
    // Of one that failed nothing is kept.
    if (&end, running.plan.at_end) == (&End::Exited(0), AtEnd::Closed) {
        closing::close(running.plan.stubs.root())?;
    }
    Ok(Outcome {
        end,
        out_of_memory,
        observed: Observed::Nothing,
        warnings: running.warnings,
    })
}
