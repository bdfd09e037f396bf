//! Ctrl-C: the first asks the work to stop, the second does not ask.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::thread;

use kiln_threads::Stop;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::failure::Failure;
use crate::session::Session;

/// Ends the work of `session` when SIGINT or SIGTERM comes.
///
/// Starts a thread; namespaces must have been entered before.
pub(crate) fn watch(session: &Session) -> Result<(), Failure> {
    let failed = |error| Failure::new(format!("cannot prepare for signals: {error}"));
    // Now, while a missing file descriptor ends nothing that has begun.
    let stop = session.stores.stop().clone();
    stop.pollable().map_err(failed)?;
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(failed)?;
    // Not the session itself: unfinished work goes with that.
    let client = session.outside.client.clone();
    let wait = move || {
        let mut asked = false;
        for signal in signals.forever() {
            if asked {
                // Mounts and processes that are left vanish with this process.
                #[expect(clippy::exit, reason = "asked to end twice")]
                std::process::exit(128 + signal);
            }
            asked = true;
            // First, so that what fails by the other finds out why.
            stop.ask();
            client.cancel();
        }
    };
    let waiting = thread::Builder::new().spawn(wait);
    waiting.map_err(|error| failed(kiln_threads::cannot_start(error)))?;
    Ok(())
}

/// A stream that others write, maybe never: reading ends once the user asks to stop.
#[derive(Debug)]
pub(crate) struct Waiting {
    input: File,
    stop: Stop,
}

impl Waiting {
    /// Reads `input` until the user asks to stop.
    pub(crate) fn new(input: OwnedFd, stop: Stop) -> Self {
        Self {
            input: input.into(),
            stop,
        }
    }
}

impl Read for Waiting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut events = [
                PollFd::new(&self.input, PollFlags::IN),
                PollFd::from_borrowed_fd(self.stop.pollable()?, PollFlags::IN),
            ];
            match rustix::event::poll(&mut events, None) {
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
                Ok(_) if !events[1].revents().is_empty() => {
                    return Err(io::Error::other("cancelled"));
                }
                Ok(_) => return self.input.read(buffer),
            }
        }
    }
}
