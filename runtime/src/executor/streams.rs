//! Standard streams: pipes or a terminal, kiln's ends and the process's.
//!
//! A process may pass its ends to programs outside the sandbox, which go on writing when it has
//! ended, or read what it wrote. So kiln's ends never wait, and when the process has ended kiln reads
//! only what was there at that moment.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::termios::Winsize;

use crate::{ExecError, Stream, Streams, WindowSize, sys};

/// Bytes that a terminal holds at most: 640 KiB and a line (linux: drivers/tty/tty_buffer.c,
/// `TTYB_DEFAULT_MEM_LIMIT`, and n_tty.c, `N_TTY_BUF_SIZE`), rounded up.
const TERMINAL_BYTES: u64 = 1 << 20;

/// Kiln's ends of the standard streams.
#[derive(Debug)]
pub(super) enum OurStreams {
    Pipes {
        /// None if the input ended, as it did from the start for most.
        stdin: Option<OwnedFd>,
        stdout: OwnedFd,
        stderr: OwnedFd,
    },
    Terminal(OwnedFd),
}

/// What a read of output returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read<'b> {
    /// Some output.
    Bytes(&'b [u8]),
    /// There is none at the moment.
    Nothing,
    /// No more will come.
    End,
}

impl OurStreams {
    /// Returns where output comes from; a terminal has one stream for both.
    pub(super) fn output(&self, stream: Stream) -> BorrowedFd<'_> {
        match (self, stream) {
            (Self::Terminal(master), _) => master.as_fd(),
            (Self::Pipes { stdout, .. }, Stream::Stdout) => stdout.as_fd(),
            (Self::Pipes { stderr, .. }, Stream::Stderr) => stderr.as_fd(),
        }
    }

    /// Reads output once.
    pub(super) fn read<'b>(&self, stream: Stream, buffer: &'b mut [u8]) -> Result<Read<'b>, Errno> {
        let from = self.output(stream);
        match rustix::io::retry_on_intr(|| rustix::io::read(from, &mut *buffer)) {
            // A terminal that no process has open any more answers EIO.
            Ok(0) | Err(Errno::IO) => Ok(Read::End),
            Err(Errno::AGAIN) => Ok(Read::Nothing),
            Ok(length) => Ok(Read::Bytes(&buffer[..length])),
            Err(errno) => Err(errno),
        }
    }

    /// Reads what is there of the output of a process that has ended, and no more: who was passed
    /// the stream may write for ever. `keep` says whether it wants more.
    pub(super) fn read_rest(
        &self,
        stream: Stream,
        buffer: &mut [u8],
        mut keep: impl FnMut(&[u8]) -> bool,
    ) -> Result<(), Errno> {
        let mut left = match self {
            Self::Terminal(_) => TERMINAL_BYTES,
            Self::Pipes { .. } => rustix::io::ioctl_fionread(self.output(stream))?,
        };
        while left > 0 {
            let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
            match self.read(stream, &mut buffer[..most])? {
                Read::Bytes(bytes) => {
                    left -= bytes.len() as u64;
                    if !keep(bytes) {
                        break;
                    }
                }
                Read::Nothing | Read::End => break,
            }
        }
        Ok(())
    }
}

/// Makes the standard streams: kiln's ends and the process's.
pub(super) fn streams(
    streams: Streams,
    terminals: &OwnedFd,
) -> Result<(OurStreams, [OwnedFd; 3]), ExecError> {
    let pipe =
        || rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(ExecError::prepare("making a pipe"));
    match streams {
        Streams::Output | Streams::Piped => {
            let (their_stdin, stdin) = pipe()?;
            let (stdout, their_stdout) = pipe()?;
            let (stderr, their_stderr) = pipe()?;
            for ours in [&stdout, &stderr] {
                rustix::fs::fcntl_setfl(ours, OFlags::NONBLOCK)
                    .map_err(ExecError::prepare("making a pipe"))?;
            }
            let ours = OurStreams::Pipes {
                stdin: (streams == Streams::Piped).then_some(stdin),
                stdout,
                stderr,
            };
            Ok((ours, [their_stdin, their_stdout, their_stderr]))
        }
        Streams::Terminal(size) => {
            let (master, peer) =
                open_terminal(terminals, size).map_err(ExecError::prepare("opening a terminal"))?;
            let again = || {
                rustix::io::fcntl_dupfd_cloexec(&peer, 0)
                    .map_err(ExecError::prepare("opening a terminal"))
            };
            let theirs = [again()?, again()?, again()?];
            Ok((OurStreams::Terminal(master), theirs))
        }
    }
}

/// Opens a terminal inside the job's own `/dev/pts`, so that it has a name there.
fn open_terminal(terminals: &OwnedFd, size: WindowSize) -> Result<(OwnedFd, OwnedFd), Errno> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let master = rustix::fs::openat(terminals, "ptmx", flags, Mode::empty())?;
    rustix::pty::unlockpt(&master)?;
    let peer = sys::open_terminal_peer(master.as_fd())?;
    rustix::termios::tcsetwinsize(&master, winsize(size))?;
    Ok((master, peer))
}

pub(super) fn winsize(size: WindowSize) -> Winsize {
    Winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}
