//! The user's terminal and the user's signals, while a container runs in the foreground.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, Termios};

use crate::SignalNumber;

/// Signals that are not passed on: those about children, pipes and sockets of this process
/// (docs/spec/cli.md 4), and those that a process cannot block.
const NOT_PASSED_ON: [i32; 11] = [
    libc::SIGCHLD,
    libc::SIGPIPE,
    libc::SIGURG,
    libc::SIGKILL,
    libc::SIGSTOP,
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGSYS,
];

/// Signals to this process, which it reads instead of being ended by them.
#[derive(Debug)]
pub struct Signals(OwnedFd);

impl Signals {
    /// Blocks all signals that can be passed on to a container, so that they can be read here.
    ///
    /// Threads inherit the block; those that exist already do not have it, so call this before
    /// there are any.
    ///
    /// # Errors
    /// The process has no file descriptor left.
    pub fn take() -> io::Result<Self> {
        let numbers = (1..=64).filter(|number| !NOT_PASSED_ON.contains(number));
        let mask = numbers.fold(0, |mask, number| mask | 1 << (number - 1));
        Ok(Self(kiln_runtime::take_signals(mask)?))
    }

    /// Ends this process when a signal comes that asks for it, until `over` is hung
    /// up: for the time in which there is no container yet that it could be passed on to.
    pub fn end_by_them_until(&self, over: impl AsFd) {
        let mut watched = [
            PollFd::new(&self.0, PollFlags::IN),
            PollFd::new(&over, PollFlags::IN),
        ];
        loop {
            match poll(&mut watched, None) {
                Err(Errno::INTR) => continue,
                Err(_) => return,
                Ok(_) if !watched[1].revents().is_empty() => return,
                Ok(_) => {}
            }
            let ends = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];
            match self.next().map(SignalNumber::number) {
                Some(number) if ends.contains(&number) => std::process::exit(128 + number),
                _ => {}
            }
        }
    }

    /// Reads one signal that has come.
    pub(crate) fn next(&self) -> Option<SignalNumber> {
        let mut info = [0; size_of::<libc::signalfd_siginfo>()];
        let length = rustix::io::read(&self.0, &mut info).ok()?;
        let number = info
            .get(..length)?
            .first_chunk()
            .copied()
            .map(u32::from_ne_bytes)?;
        SignalNumber::from_number(i32::try_from(number).ok()?)
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A terminal in raw mode: it passes every key on as it is. Dropped, it gets its former mode back.
#[derive(Debug)]
pub struct RawTerminal<'a> {
    terminal: BorrowedFd<'a>,
    former: Termios,
}

impl<'a> RawTerminal<'a> {
    /// Makes a terminal raw.
    ///
    /// # Errors
    /// It is no terminal.
    pub fn enter(terminal: BorrowedFd<'a>) -> io::Result<Self> {
        let former = rustix::termios::tcgetattr(terminal)?;
        let mut raw = former.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(terminal, OptionalActions::Now, &raw)?;
        Ok(Self { terminal, former })
    }
}

impl Drop for RawTerminal<'_> {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = rustix::termios::tcsetattr(self.terminal, OptionalActions::Now, &self.former);
    }
}
