//! Standard streams: pipes or a terminal, ours and the child's ends.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::termios::Winsize;

use crate::{ExecError, Streams, WindowSize, sys};

/// Our ends of the standard streams.
#[derive(Debug)]
pub(crate) enum OurStreams {
    Pipes {
        /// None if the input ended, as it did from the start for most.
        stdin: Option<OwnedFd>,
        stdout: OwnedFd,
        stderr: OwnedFd,
    },
    Terminal(OwnedFd),
}

/// Makes the standard streams: ours and the child's.
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
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = rustix::fs::openat(terminals, "ptmx", flags, Mode::empty())?;
    rustix::pty::unlockpt(&master)?;
    let peer = sys::open_terminal_peer(master.as_fd())?;
    rustix::termios::tcsetwinsize(&master, winsize(size))?;
    Ok((master, peer))
}

pub(crate) fn winsize(size: WindowSize) -> Winsize {
    Winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}
