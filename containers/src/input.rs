//! The way of input into a container.

use kiln_runtime::Running;
use rustix::io::Errno;

/// The way of input into a container.
#[derive(Debug, Default)]
pub(crate) struct Input {
    /// Given but not yet taken by the container.
    pub(crate) pending: Vec<u8>,
    /// Whether somebody's input ended. As long as nobody gives any, it stays open.
    has_ended: bool,
}

impl Input {
    /// Has nothing wait for a container that does not read.
    pub(crate) fn prepare(running: &Running) {
        if let Some(target) = running.input() {
            let flags = rustix::fs::fcntl_getfl(target);
            let _ = flags.and_then(|flags| {
                rustix::fs::fcntl_setfl(target, flags | rustix::fs::OFlags::NONBLOCK)
            });
        }
    }

    /// Says whether the container will get no more.
    pub(crate) fn is_over(&self) -> bool {
        self.has_ended && self.pending.is_empty()
    }

    /// Says whether more may be given.
    pub(crate) fn has_room(&self) -> bool {
        self.pending.is_empty()
    }

    pub(crate) fn end(&mut self) {
        self.has_ended = true;
    }

    pub(crate) fn write(&mut self, running: &Running) {
        let Some(target) = running.input() else {
            self.pending.clear();
            return;
        };
        match rustix::io::write(target, &self.pending) {
            Ok(length) => {
                self.pending.drain(..length);
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            // It closed its input.
            Err(_) => {
                self.pending.clear();
                self.end();
            }
        }
    }
}
