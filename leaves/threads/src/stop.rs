//! A request to stop, and threads that check it while they work.
//!
//! A user who asks a build to stop waits for what is running. A thread that copies, digests, packs
//! or unpacks checks the request between two pieces; one that sleeps in poll(2), for a command, a
//! lock or a log, polls the request's file descriptor beside its own. Both fail. What was made until
//! then is a temporary, and is deleted as after any failure.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// Whether work is to stop. Clones share the request, which is never taken back.
#[derive(Clone, Default)]
pub struct Stop(Arc<StopRequest>);

#[derive(Default)]
struct StopRequest {
    is_asked: AtomicBool,
    /// Readable once asked. Made when the first thread wants to wait for it.
    event: OnceLock<OwnedFd>,
    /// The requests of parts of the work.
    parts: Mutex<Vec<Weak<Self>>>,
}

impl StopRequest {
    fn ask(&self) {
        self.is_asked.store(true, Ordering::SeqCst);
        if let Some(event) = self.event.get() {
            wake(event);
        }
        let parts = std::mem::take(&mut *self.parts.lock().unwrap_or_else(PoisonError::into_inner));
        for part in parts.iter().filter_map(Weak::upgrade) {
            part.ask();
        }
    }
}

/// The error of work that was asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cancelled")]
pub struct Stopped;

impl Stop {
    /// Asks all who share the request to stop.
    pub fn ask(&self) {
        self.0.ask();
    }

    /// Returns the request of a part of the work: it is asked to stop with the whole, or alone.
    #[must_use]
    pub fn part(&self) -> Self {
        let part = Self::default();
        let mut parts = self.0.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.retain(|part| part.strong_count() > 0);
        parts.push(Arc::downgrade(&part.0));
        drop(parts);
        // A caller that asked before the part was listed has not asked it.
        if self.is_asked() {
            part.ask();
        }
        part
    }

    /// Says whether the work was asked to stop.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.0.is_asked.load(Ordering::SeqCst)
    }

    /// Fails if the work was asked to stop.
    ///
    /// # Errors
    /// [`Stopped`], in an error of the kind that moving bytes fails with anyway.
    pub fn check(&self) -> io::Result<()> {
        if self.is_asked() {
            return Err(io::Error::other(Stopped));
        }
        Ok(())
    }

    /// Sleeps for `duration`, or until the work is asked to stop. Says whether it was.
    #[must_use]
    pub fn sleep(&self, duration: Duration) -> bool {
        /// The time between two checks of a thread that has no descriptor to wait for.
        const CHECK_INTERVAL: Duration = Duration::from_millis(10);
        let begun = Instant::now();
        while !self.is_asked() {
            let left = duration.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return false;
            }
            match self.pollable() {
                Ok(asked) => {
                    let mut events = [PollFd::from_borrowed_fd(asked, PollFlags::IN)];
                    // A time that no Timespec holds has no end. A signal is no reason to end either.
                    let _ = poll(&mut events, Timespec::try_from(left).ok().as_ref());
                }
                Err(_) => thread::sleep(left.min(CHECK_INTERVAL)),
            }
        }
        true
    }

    /// Returns a file descriptor that is readable once the work was asked to stop, for poll(2).
    ///
    /// # Errors
    /// When the process has no file descriptor left; never again once it has succeeded.
    pub fn pollable(&self) -> io::Result<BorrowedFd<'_>> {
        if let Some(event) = self.0.event.get() {
            return Ok(event.as_fd());
        }
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let event = self.0.event.get_or_init(|| event);
        // A caller that asked before it was made has written nothing into it.
        if self.0.is_asked.load(Ordering::SeqCst) {
            wake(event);
        }
        Ok(event.as_fd())
    }
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stop").field(&self.is_asked()).finish()
    }
}

/// Makes an event readable. A counter that is full, from very many requests, is readable too.
fn wake(event: &OwnedFd) {
    let _ = rustix::io::write(event, &1_u64.to_ne_bytes());
}

/// A stream that fails when it is asked to stop.
#[derive(Debug)]
pub struct Stopping<'a, T> {
    stop: &'a Stop,
    inner: T,
}

impl<'a, T> Stopping<'a, T> {
    /// Looks at `stop` before each read or write.
    pub fn new(stop: &'a Stop, inner: T) -> Self {
        Self { stop, inner }
    }
}

impl<T: Read> Read for Stopping<'_, T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stop.check()?;
        self.inner.read(buffer)
    }
}

impl<T: Write> Write for Stopping<'_, T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stop.check()?;
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_readable(stop: &Stop) -> bool {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let event = stop.pollable().unwrap();
        let mut events = [PollFd::from_borrowed_fd(event, PollFlags::IN)];
        poll(&mut events, Some(&now)).unwrap() == 1
    }

    #[test]
    fn the_descriptor_is_readable_from_the_first_request_on() {
        let (before, after) = (Stop::default(), Stop::default());
        assert!(!is_readable(&before));
        for stop in [&before, &after] {
            stop.clone().ask();
            stop.ask();
            assert!(is_readable(stop) && is_readable(&stop.clone()));
        }
    }

    #[test]
    fn sleep_ends_after_its_time_or_when_asked_to_stop() {
        let stop = Stop::default();
        assert!(!stop.sleep(Duration::from_millis(1)));
        thread::scope(|scope| {
            let sleeper = scope.spawn(|| stop.sleep(Duration::MAX));
            stop.ask();
            assert!(sleeper.join().unwrap());
        });
        assert!(stop.sleep(Duration::from_secs(3600)));
    }

    #[test]
    fn a_part_stops_alone_and_with_the_whole() {
        let whole = Stop::default();
        let (first, second) = (whole.part(), whole.part());
        first.ask();
        assert!(is_readable(&first) && !second.is_asked() && !whole.is_asked());
        assert!(!is_readable(&second));
        whole.ask();
        assert!(is_readable(&second) && is_readable(&second.part()));
        assert!(is_readable(&whole.part()));
    }

    #[test]
    fn streams_fail_once_asked_to_stop() {
        let stop = Stop::default();
        let (mut input, mut output) = (Stopping::new(&stop, &b"abc"[..]), Vec::new());
        let mut piece = [0];
        assert_eq!(input.read(&mut piece).unwrap(), 1);
        Stopping::new(&stop, &mut output).write_all(&piece).unwrap();
        stop.clone().ask();
        let error = input.read(&mut piece).unwrap_err();
        assert_eq!(error.to_string(), "cancelled");
        assert!(Stopping::new(&stop, &mut output).write_all(b"x").is_err());
        assert_eq!(output, b"a");
    }
}
