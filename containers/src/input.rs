//! Input on its way into a container.

use kiln_runtime::Running;
use rustix::io::Errno;

/// Input on its way into a container.
#[derive(Debug, Default)]
pub(crate) struct Input {
    /// What the container has not read yet.
    pub(crate) pending: Vec<u8>,
    /// Whether the input of an attached client ended. As long as none gives any, it stays open.
    has_ended: bool,
}

impl Input {
    /// Makes the writing end not wait, so that a container that does not read holds up nothing.
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
