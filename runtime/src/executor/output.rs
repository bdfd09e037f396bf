//! Where the output of a job goes.

use crate::Stream;

/// Takes the output of a process.
pub trait JobOutput {
    /// Takes some bytes; they may end inside a line or a character.
    fn chunk(&mut self, stream: Stream, bytes: &[u8]);
}

impl<F: FnMut(Stream, &[u8])> JobOutput for F {
    fn chunk(&mut self, stream: Stream, bytes: &[u8]) {
        self(stream, bytes);
    }
}
