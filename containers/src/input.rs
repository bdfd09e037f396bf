//! The way of input into a container.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use kiln_runtime::Running;

/// The way of input into a container.
pub(crate) struct Input<'a> {
    pub(crate) source: Option<BorrowedFd<'a>>,
    /// Read but not yet taken by the container.
    pub(crate) pending: Vec<u8>,
    /// Whether the source ended. Without one, the input stays open with nobody to fill it.
    has_ended: bool,
}

impl<'a> Input<'a> {
    pub(crate) fn new(running: &Running, source: Option<BorrowedFd<'a>>) -> Self {
        let input = Self {
            source,
            pending: Vec::new(),
            has_ended: false,
        };
        if let Some(target) = running.input() {
            // A container that does not read must not hold up its output.
            let flags = rustix::fs::fcntl_getfl(target);
            let _ = flags.and_then(|flags| {
                rustix::fs::fcntl_setfl(target, flags | rustix::fs::OFlags::NONBLOCK)
            });
        }
        input
    }

    /// Says whether the container will get no more.
    pub(crate) fn is_over(&self) -> bool {
        self.has_ended && self.pending.is_empty()
    }

    pub(crate) fn read(&mut self) {
        let Some(source) = self.source else { return };
        let mut buffer = [0; 4096];
        match rustix::io::read(source, &mut buffer) {
            Ok(0) => self.end(),
            Ok(length) => self.pending.extend_from_slice(&buffer[..length]),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => self.end(),
        }
    }

    fn end(&mut self) {
        self.source = None;
        self.has_ended = true;
    }

    pub(crate) fn write(&mut self, running: &Running) {
        let Some(target) = running.input() else {
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
