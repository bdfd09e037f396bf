//! Moving bytes into the store, hashed on the way.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read};

use kiln_files::{Piece, Pieces};
use kiln_threads::Stop;
use kiln_tree::Blake3;
use rustix::io::Errno;

use crate::holed::HoledFile;

/// Bytes. From here on a copy inside the kernel beats one that hashes along; below, the file
/// system's work on the inode hides the hash.
pub(crate) const LARGE: u64 = 1 << 20;

/// Bytes moved at once: enough for BLAKE3 to use all lanes, and within a core's cache.
const CHUNK: usize = 256 << 10;

/// Bytes that the kernel copies at once: it does not notice meanwhile that it is to stop.
const INSIDE: usize = 16 << 20;

/// Length and digest of a file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hashed {
    /// Length in bytes.
    pub size_bytes: u64,
    /// Digest.
    pub hash: Blake3,
}

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Writes a file from memory.
pub(crate) fn write_bytes(target: &File, bytes: &[u8]) -> io::Result<Hashed> {
    let mut target = HoledFile::new(target);
    target.write(Piece::Bytes(bytes))?;
    target.finish()?;
    Ok(Hashed {
        size_bytes: bytes.len() as u64,
        hash: Blake3::of(bytes),
    })
}

/// Copies a stream to its end; runs of zeros become holes.
pub(crate) fn copy_stream(source: &mut dyn Read, target: &File, stop: &Stop) -> io::Result<Hashed> {
    let mut target = HoledFile::new(target);
    let hashed = BUFFER.with_borrow_mut(|buffer| {
        buffer.resize(CHUNK, 0);
        let mut hashing = PieceHasher::default();
        loop {
            stop.check()?;
            // Full, so that zeros are found wherever the source takes its breaths.
            let count = fill(source, buffer)?;
            if count == 0 {
                return Ok::<Hashed, io::Error>(hashing.finish());
            }
            let piece = Piece::Bytes(&buffer[..count]);
            hashing.take(piece);
            target.write(piece)?;
        }
    })?;
    target.finish()?;
    Ok(hashed)
}

/// Copies a file; its holes are kept, and runs of zeros become holes too.
pub(crate) fn copy_hashing(source: &File, target: &File, stop: &Stop) -> io::Result<Hashed> {
    let mut target = HoledFile::new(target);
    let mut hashing = PieceHasher::default();
    each_piece(source, stop, |piece| {
        hashing.take(piece);
        target.write(piece)
    })?;
    target.finish()?;
    Ok(hashing.finish())
}

/// Hashes a file.
///
/// # Errors
/// When it cannot be read, or `stop` is asked for.
pub fn hash(file: &File, stop: &Stop) -> io::Result<Hashed> {
    let mut hashing = PieceHasher::default();
    each_piece(file, stop, |piece| {
        hashing.take(piece);
        Ok(())
    })?;
    Ok(hashing.finish())
}

/// Copies a file whose digest is known; what turns out to have another length is hashed anew.
pub(crate) fn copy_known(
    source: &File,
    target: &File,
    known: Hashed,
    stop: &Stop,
) -> io::Result<Hashed> {
    let copied = if kiln_files::may_have_holes(source) {
        copy_with_holes(source, target, stop)?
    } else {
        match copy_inside(source, target, stop)? {
            Some(copied) => copied,
            None => return copy_hashing(source, target, stop),
        }
    };
    if copied == known.size_bytes {
        Ok(known)
    } else {
        hash(target, stop)
    }
}

fn copy_with_holes(source: &File, target: &File, stop: &Stop) -> io::Result<u64> {
    let mut target = HoledFile::new(target);
    each_piece(source, stop, |piece| target.write(piece))?;
    target.finish()
}

/// Copies inside the kernel; none, and nothing is written, where it cannot.
fn copy_inside(source: &File, target: &File, stop: &Stop) -> io::Result<Option<u64>> {
    let mut copied = 0;
    loop {
        stop.check()?;
        match rustix::fs::copy_file_range(source, None, target, None, INSIDE) {
            Ok(0) => return Ok(Some(copied)),
            Ok(count) => copied += count as u64,
            // Two file systems, or one that cannot.
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) if copied == 0 => {
                return Ok(None);
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn each_piece(
    file: &File,
    stop: &Stop,
    mut act: impl FnMut(Piece<'_>) -> io::Result<()>,
) -> io::Result<()> {
    BUFFER.with_borrow_mut(|buffer| {
        buffer.resize(CHUNK, 0);
        let mut pieces = Pieces::of(file);
        while let Some(piece) = pieces.next(buffer)? {
            stop.check()?;
            act(piece)?;
        }
        Ok(())
    })
}

fn fill(source: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Digests pieces.
#[derive(Default)]
pub(crate) struct PieceHasher {
    hasher: blake3::Hasher,
    size_bytes: u64,
}

impl PieceHasher {
    /// Takes the next piece.
    pub(crate) fn take(&mut self, piece: Piece<'_>) {
        for bytes in piece.slices() {
            self.hasher.update(bytes);
        }
        self.size_bytes += piece.size_bytes();
    }

    /// Returns what all were.
    pub(crate) fn finish(&self) -> Hashed {
        Hashed {
            size_bytes: self.size_bytes,
            hash: self.hasher.finalize().into(),
        }
    }
}
