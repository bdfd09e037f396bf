//! A wish to stop, and those who move many bytes looking at it.
//!
//! Somebody who asks a build to stop waits for whoever is at work. Commands, requests and locks are
//! ended from outside; who copies, digests, packs or unpacks looks here between two pieces instead,
//! and fails. Whatever was made until then is a temporary, and goes as it does after any failure.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether everybody who works on a state directory is to stop. Clones share the wish, which is never
/// taken back.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

/// What they fail with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cancelled")]
pub struct Stopped;

impl Stop {
    /// Asks them to.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Says whether somebody asked.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Fails if somebody asked.
    ///
    /// # Errors
    /// [`Stopped`], in an error of the kind that those who move bytes have anyway.
    pub fn check(&self) -> io::Result<()> {
        match self.is_asked() {
            true => Err(io::Error::other(Stopped)),
            false => Ok(()),
        }
    }
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

    #[test]
    fn streams_fail_from_then_on() {
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
