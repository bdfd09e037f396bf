//! SHA-256 of what flows by, and what it takes to go on with it later.

use std::io::{self, Read, Write};

use sha2::Digest as _;
use sha2::digest::common::hazmat::{SerializableState as _, SerializedState};

use crate::Sha256;
use crate::digest::{hex, unhex};

/// Passes bytes on to a writer and computes their SHA-256 and number on the way.
#[derive(Debug)]
pub struct Sha256Writer<W> {
    inner: W,
    hasher: sha2::Sha256,
    size_bytes: u64,
}

impl<W: Write> Sha256Writer<W> {
    /// Wraps `inner`.
    pub fn new(inner: W) -> Self {
        Self {
            inner,
            hasher: sha2::Sha256::new(),
            size_bytes: 0,
        }
    }

    /// Goes on where another writer was when it gave this state.
    pub fn resume(inner: W, state: &Sha256State) -> Self {
        Self {
            inner,
            hasher: state.hasher.clone(),
            size_bytes: state.size_bytes,
        }
    }

    /// Returns what it takes to go on from here with other bytes.
    pub fn state(&self) -> Sha256State {
        Sha256State {
            hasher: self.hasher.clone(),
            size_bytes: self.size_bytes,
        }
    }

    /// Returns the wrapped writer, the digest and the number of bytes written.
    pub fn finish(self) -> (W, Sha256, u64) {
        (
            self.inner,
            Sha256(self.hasher.finalize().into()),
            self.size_bytes,
        )
    }
}

/// The middle of a computation: streams that begin alike need their beginning hashed only once.
#[derive(Clone, Debug)]
pub struct Sha256State {
    hasher: sha2::Sha256,
    size_bytes: u64,
}

impl Sha256State {
    /// Returns the number of bytes hashed so far.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Returns the state as a word. Its form is that of the hash function's implementation: to be
    /// kept only beside [`Sha256State::sample`].
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{}-{}", self.size_bytes, hex(&self.hasher.serialize()))
    }

    /// Reads a state; none if the text is not one.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let (size, state) = text.split_once('-')?;
        let bytes = unhex(state)?;
        let state = SerializedState::<sha2::Sha256>::try_from(bytes.as_slice()).ok()?;
        Some(Self {
            hasher: sha2::Sha256::deserialize(&state).ok()?,
            size_bytes: size.parse().ok()?,
        })
    }

    /// Returns the state after a text that never changes: states that were kept beside another
    /// sample come from another implementation.
    #[must_use]
    pub fn sample() -> Self {
        let mut writer = Sha256Writer::new(io::sink());
        let text =
            b"The quick brown fox jumps over the lazy dog; and then it sleeps all afternoon.";
        writer.write_all(text).expect("a sink takes everything");
        writer.state()
    }
}

impl<W: Write> Write for Sha256Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size_bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Passes bytes on from a reader and computes their SHA-256 and number on the way.
#[derive(Debug)]
pub struct Sha256Reader<R> {
    inner: R,
    hasher: sha2::Sha256,
    size_bytes: u64,
}

impl<R: Read> Sha256Reader<R> {
    /// Wraps `inner`.
    pub fn new(inner: R) -> Self {
        Self {
            inner,
            hasher: sha2::Sha256::new(),
            size_bytes: 0,
        }
    }

    /// Returns the wrapped reader, the digest and the number of bytes read.
    pub fn finish(self) -> (R, Sha256, u64) {
        (
            self.inner,
            Sha256(self.hasher.finalize().into()),
            self.size_bytes,
        )
    }
}

impl<R: Read> Read for Sha256Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.size_bytes += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_that_was_written_down_goes_on_as_if_nothing_had_been() {
        let bytes: Vec<u8> = (0..1000_u32).map(|n| n.to_le_bytes()[0]).collect();
        for cut in [0, 1, 63, 64, 512, 999] {
            let mut first = Sha256Writer::new(io::sink());
            first.write_all(&bytes[..cut]).unwrap();
            let text = first.state().to_text();
            let state = Sha256State::from_text(&text).unwrap();
            assert_eq!(state.size_bytes(), cut as u64);
            let mut second = Sha256Writer::resume(io::sink(), &state);
            second.write_all(&bytes[cut..]).unwrap();
            let (_, digest, size_bytes) = second.finish();
            assert_eq!((digest, size_bytes), (Sha256::of(&bytes), 1000));
        }
        for damaged in [
            "",
            "1",
            "1-",
            "1-00",
            "x-y",
            &Sha256State::sample().to_text()[1..],
        ] {
            let read = Sha256State::from_text(damaged);
            assert!(
                read.is_none_or(|state| state.size_bytes() != 78),
                "{damaged}"
            );
        }
    }

    #[test]
    fn a_reader_knows_what_went_by() {
        let bytes = vec![7; 100_000];
        let mut reader = Sha256Reader::new(&*bytes);
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        let (rest, digest, size_bytes) = reader.finish();
        assert!(rest.is_empty());
        assert_eq!(read, bytes);
        assert_eq!((digest, size_bytes), (Sha256::of(&bytes), 100_000));
    }
}
