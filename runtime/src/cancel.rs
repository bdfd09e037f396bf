//! One switch that stops every step sharing it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::io::Errno;

/// A switch that is off until [`Cancel::trigger`] turns it on for good.
///
/// Clones share the switch. It is an eventfd that nobody ever reads, so it can be polled beside
/// pipes and process descriptors by any number of threads and stays readable once triggered.
#[derive(Clone, Debug)]
pub struct Cancel(Arc<OwnedFd>);

impl Cancel {
    /// Makes a switch that is off.
    ///
    /// # Errors
    /// The process has no file descriptor left.
    pub fn new() -> Result<Self, std::io::Error> {
        let event = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self(Arc::new(event)))
    }

    /// Turns the switch on; doing so again changes nothing.
    pub fn trigger(&self) {
        match rustix::io::write(&*self.0, &1_u64.to_ne_bytes()) {
            // A full counter means that it was triggered before, very often.
            Ok(_) | Err(Errno::AGAIN) => {}
            Err(error) => unreachable!("an eventfd takes eight bytes: {error}"),
        }
    }

    /// Says whether the switch is on.
    #[must_use]
    pub fn is_triggered(&self) -> bool {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut event = [PollFd::new(&*self.0, PollFlags::IN)];
        matches!(rustix::event::poll(&mut event, Some(&now)), Ok(1))
    }
}

impl AsFd for Cancel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_on_for_every_clone() {
        let cancel = Cancel::new().unwrap();
        let other = cancel.clone();
        assert!(!other.is_triggered());
        cancel.trigger();
        cancel.trigger();
        assert!(other.is_triggered());
        assert!(other.is_triggered());
    }
}
