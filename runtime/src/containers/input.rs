//! The way of input into a container.

use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::io::Errno;

use crate::executor::{OurStreams, Running};

/// The way of input into a container.
pub(super) struct Input<'a> {
    pub(super) source: Option<BorrowedFd<'a>>,
    /// Read but not yet taken by the container.
    pub(super) pending: Vec<u8>,
    /// Whether the source ended. Without one, the input stays open with nobody to fill it.
    has_ended: bool,
}

impl<'a> Input<'a> {
    pub(super) fn new(running: &Running, source: Option<BorrowedFd<'a>>) -> Self {
        let input = Self {
            source,
            pending: Vec::new(),
            has_ended: false,
        };
        if let Some(target) = input.target(running) {
            // A container that does not read must not hold up its output.
            let flags = rustix::fs::fcntl_getfl(target);
            let _ = flags.and_then(|flags| {
                rustix::fs::fcntl_setfl(target, flags | rustix::fs::OFlags::NONBLOCK)
            });
        }
        input
    }

    pub(super) fn target<'r>(&self, running: &'r Running) -> Option<BorrowedFd<'r>> {
        match &running.streams {
            OurStreams::Pipes { stdin, .. } => stdin.as_ref().map(|stdin| stdin.as_fd()),
            OurStreams::Terminal(master) => Some(master.as_fd()),
        }
    }

    /// Says whether the container will get no more.
    pub(super) fn is_over(&self) -> bool {
        self.has_ended && self.pending.is_empty()
    }

    pub(super) fn read(&mut self) {
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

    pub(super) fn write(&mut self, running: &Running) {
        let Some(target) = self.target(running) else {
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
