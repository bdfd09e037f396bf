//! A job that runs: its streams, its signals, its end.
//!
//! [`super::LocalExecutor::start`] gives it to callers that watch a process themselves, beside
//! whatever else they wait for. Everything that may happen is a descriptor to poll: output
//! ([`Running::output`]), the start of the program ([`Running::report`]), calls that kiln answers
//! ([`Running::calls`]), the end ([`Running::end`]).

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use super::closing::{self, AtEnd};
use super::facts::JobFacts;
use super::failure::explain;
use super::groups::Groups;
use super::report::Report;
use super::sockets::Sockets;
use super::streams::{OurStreams, Read, winsize};
use crate::sys::{self, Spawned, WaitStatus};
use crate::{End, ExecError, JobOutcome, Observed, Stream, Warning, WindowSize};

/// A job whose process was cloned: it runs, or is on its way. Dropped before its end, it is killed.
#[derive(Debug)]
pub struct Running {
    pub(super) process: Spawned,
    /// What the process says until it becomes the program.
    pub(super) report: Report,
    pub(super) sockets: Sockets,
    pub(super) streams: OurStreams,
    pub(super) groups: Groups,
    pub(super) warnings: Vec<Warning>,
    pub(super) facts: JobFacts,
}

impl Running {
    /// Returns the process's id in the caller's namespace; none if it is gone.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.process.id()
    }

    /// Returns what becomes readable when the process ends.
    #[must_use]
    pub fn end(&self) -> BorrowedFd<'_> {
        self.process.pidfd.as_fd()
    }

    /// Sends a signal to the process.
    ///
    /// # Errors
    /// It has ended, or there is no such signal.
    pub fn send_signal(&self, number: i32) -> io::Result<()> {
        Ok(sys::send_signal(self.end(), number)?)
    }

    /// Kills the process, and with it all others of its sandbox.
    pub fn kill(&self) {
        self.process.kill();
    }

    /// Says whether the standard streams are a terminal, whose output is all on one stream.
    #[must_use]
    pub fn has_terminal(&self) -> bool {
        matches!(self.streams, OurStreams::Terminal(_))
    }

    /// Changes the size of the process's terminal.
    ///
    /// # Errors
    /// It has none.
    pub fn resize(&self, size: WindowSize) -> io::Result<()> {
        match &self.streams {
            OurStreams::Terminal(master) => {
                Ok(rustix::termios::tcsetwinsize(master, winsize(size))?)
            }
            OurStreams::Pipes { .. } => Err(Errno::NOTTY.into()),
        }
    }

    /// Returns what is readable when there is output, or no more will come.
    #[must_use]
    pub fn output(&self, stream: Stream) -> BorrowedFd<'_> {
        self.streams.output(stream)
    }

    /// Reads output once, without waiting.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn read<'b>(&self, stream: Stream, buffer: &'b mut [u8]) -> io::Result<Read<'b>> {
        Ok(self.streams.read(stream, buffer)?)
    }

    /// Reads what is there of the output of a process that has ended, and no more: who was passed
    /// the stream may write for ever. `keep` says whether it wants more.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn read_rest(
        &self,
        stream: Stream,
        buffer: &mut [u8],
        keep: impl FnMut(&[u8]) -> bool,
    ) -> io::Result<()> {
        Ok(self.streams.read_rest(stream, buffer, keep)?)
    }

    /// Returns where the process's input is written to; none if it has ended. The kernel makes the
    /// writer wait unless the caller has it otherwise.
    #[must_use]
    pub fn input(&self) -> Option<BorrowedFd<'_>> {
        match &self.streams {
            OurStreams::Pipes { stdin, .. } => stdin.as_ref().map(|stdin| stdin.as_fd()),
            OurStreams::Terminal(master) => Some(master.as_fd()),
        }
    }

    /// Ends the process's input; a terminal has no end.
    pub fn close_input(&mut self) {
        if let OurStreams::Pipes { stdin, .. } = &mut self.streams {
            *stdin = None;
        }
    }

    /// Returns what is readable when there is a report of the start; none when there will be no more:
    /// then the process is the program, unless [`Running::has_failed`].
    #[must_use]
    pub fn report(&self) -> Option<BorrowedFd<'_>> {
        self.report.source()
    }

    /// Reads a report of the start.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn read_report(&mut self) -> io::Result<()> {
        Ok(self.report.read(&mut self.sockets)?)
    }

    /// Reads all reports of the start that have arrived.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn read_reports(&mut self) -> io::Result<()> {
        while let Some(source) = self.report() {
            if !is_readable(source)? {
                break;
            }
            self.read_report()?;
        }
        Ok(())
    }

    /// Says whether the process could not become the program.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.report.failure().is_some()
    }

    /// Returns what is readable when the process waits for an answer of kiln's to a call; none if
    /// it will not.
    #[must_use]
    pub fn calls(&self) -> Option<BorrowedFd<'_>> {
        self.sockets.listener()
    }

    /// Answers one call, if one waits.
    pub fn answer_call(&mut self) {
        self.sockets.answer(&self.groups);
    }

    /// Takes a process that has ended, as [`Running::end`] says, from the kernel's table.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn reap(&mut self) -> io::Result<ProcessEnd> {
        Ok(ProcessEnd(self.process.reap()?))
    }

    /// Removes what is left of a job whose process was reaped and whose reports were all read, and
    /// sums up.
    ///
    /// # Errors
    /// The job could not be run. A program that fails, or does not exist, is a [`JobOutcome`].
    pub fn finish(self, ended: ProcessEnd) -> Result<JobOutcome, ExecError> {
        self.sum_up(|running| match (running.report.failure(), ended.0) {
            (Some((record, head)), _) => explain(&running.facts, record, head),
            (None, WaitStatus::Exited(code)) => Ok(End::Exited(code)),
            (None, WaitStatus::Killed(signal)) => Ok(End::Killed(signal)),
        })
    }

    /// As [`Running::finish`], for a job that the caller has killed.
    pub(super) fn finish_cancelled(self) -> Result<JobOutcome, ExecError> {
        self.sum_up(|_| Ok(End::Cancelled))
    }

    fn sum_up(
        mut self,
        end: impl FnOnce(&Self) -> Result<End, ExecError>,
    ) -> Result<JobOutcome, ExecError> {
        self.facts.stubs.remove();
        let out_of_memory = self.groups.remove_limits();
        let end = end(&self)?;
        // Nothing is kept of a process that failed.
        if (&end, self.facts.at_end) == (&End::Exited(0), AtEnd::Closed) {
            closing::close(self.facts.stubs.root())?;
        }
        Ok(JobOutcome {
            end,
            out_of_memory,
            observed: Observed::Nothing,
            warnings: self.warnings,
        })
    }

    /// Ends a process that cannot be watched: without a view of it there is no point in letting it
    /// run. Returns the reason as an error of the job.
    #[must_use]
    pub fn abandon(self, reason: io::Error) -> ExecError {
        self.abort();
        ExecError::Prepare {
            what: "watching the process".to_owned(),
            source: reason,
        }
    }

    /// Ends a process, whatever it does, and removes what is left of it.
    pub(super) fn abort(mut self) {
        self.process.kill();
        let _ = self.process.reap();
        self.facts.stubs.remove();
        self.groups.remove_limits();
    }

    /// Lets a process go on that waits to become the program.
    pub(super) fn release(&self) -> io::Result<()> {
        Ok(self.report.release()?)
    }
}

/// How the process itself ended; what that means depends on how far it had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessEnd(WaitStatus);

fn is_readable(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mut event = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    let ready = rustix::io::retry_on_intr(|| rustix::event::poll(&mut event, Some(&now)))?;
    Ok(ready > 0)
}
