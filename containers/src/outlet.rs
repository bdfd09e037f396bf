//! The way of output to the user, which may be full: `run IMAGE yes | less`.
//!
//! Nothing is written that would have to wait. So whoever asks for the container's end is answered
//! though nobody reads, and so is whoever presses Ctrl-C.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use crate::Signals;
use crate::monitor::{Attachment, Departure};
use kiln_runtime::Stream;

/// Bytes that a pipe takes at once if it takes any (pipe(7), `PIPE_BUF`).
pub(crate) const AT_ONCE_BYTES: usize = 4096;

/// Bytes that are kept of what a container had written when it ended; more than its pipes hold.
const REST_BYTES: usize = 4 << 20;

/// Output between a container and its user.
#[derive(Debug, Default)]
pub(crate) struct Outlet {
    full: Vec<Stream>,
    rest: Vec<(Stream, Vec<u8>)>,
}

impl Outlet {
    /// Returns what to watch before output of a stream is read, if it is known to be full.
    pub(crate) fn full<'a>(
        &self,
        attachment: &Attachment<'a>,
        stream: Stream,
    ) -> Option<BorrowedFd<'a>> {
        way(attachment, stream).filter(|_| self.full.contains(&stream))
    }

    /// Says whether output of a stream can be passed on; if not, it is full until it is cleared.
    pub(crate) fn is_clear(
        &mut self,
        attachment: &Attachment<'_>,
        stream: Stream,
    ) -> Result<bool, Errno> {
        let Some(way) = way(attachment, stream) else {
            return Ok(true);
        };
        let mut event = [PollFd::from_borrowed_fd(way, PollFlags::OUT)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // An error is an answer too: writing will tell.
        let is_clear = rustix::event::poll(&mut event, Some(&now))? > 0;
        if !is_clear {
            self.full.push(stream);
        }
        Ok(is_clear)
    }

    pub(crate) fn clear(&mut self, stream: Stream) {
        self.full.retain(|other| *other != stream);
    }

    /// Keeps what is left when the container has ended; says whether there is room for more.
    pub(crate) fn keep(&mut self, stream: Stream, bytes: &[u8]) -> bool {
        self.rest.push((stream, bytes.to_owned()));
        let kept: usize = self.rest.iter().map(|(_, bytes)| bytes.len()).sum();
        kept < REST_BYTES
    }

    /// Passes on what was kept, until a signal says that nobody waits for it. Returns what went
    /// wrong.
    pub(crate) fn empty(self, attachment: &mut Attachment<'_>) -> Option<Departure> {
        for (stream, bytes) in self.rest {
            for piece in bytes.chunks(AT_ONCE_BYTES) {
                if !wait(attachment, stream).unwrap_or(true) {
                    return None;
                }
                let output = attachment.output.as_mut()?;
                if let Err(error) = output(stream, piece) {
                    return Some(Departure::Output(stream, error));
                }
            }
        }
        None
    }
}

fn way<'a>(attachment: &Attachment<'a>, stream: Stream) -> Option<BorrowedFd<'a>> {
    attachment.output.as_ref()?;
    let [stdout, stderr] = attachment.outlets?;
    Some(match stream {
        Stream::Stdout => stdout,
        Stream::Stderr => stderr,
    })
}

/// Waits until a stream takes something; false if a signal that ends programs came before.
fn wait(attachment: &Attachment<'_>, stream: Stream) -> io::Result<bool> {
    let Some(way) = way(attachment, stream) else {
        return Ok(true);
    };
    loop {
        let mut events = vec![PollFd::from_borrowed_fd(way, PollFlags::OUT)];
        if let Some(signals) = attachment.signals {
            events.push(PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN));
        }
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut events, None))?;
        if !events[0].revents().is_empty() {
            return Ok(true);
        }
        let signal = attachment.signals.and_then(Signals::next);
        let ends = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];
        if signal.is_some_and(|signal| ends.contains(&signal.number())) {
            return Ok(false);
        }
    }
}
