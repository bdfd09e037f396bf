//! Moving bytes into the store, hashed on the way.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};

use kiln_cache::Blake3;
use rustix::io::Errno;

/// Bytes. From here on a copy inside the kernel beats one that hashes along; below, the file
/// system's work on the inode hides the hash.
pub(crate) const LARGE: u64 = 1 << 20;

/// Bytes moved at once: enough for BLAKE3 to use all lanes, and within a core's cache.
const CHUNK: usize = 256 << 10;

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
pub(crate) fn write_bytes(mut target: &File, bytes: &[u8]) -> io::Result<Hashed> {
    target.write_all(bytes)?;
    Ok(Hashed {
        size_bytes: bytes.len() as u64,
        hash: Blake3::of(bytes),
    })
}

/// Copies from `source` to its end.
pub(crate) fn copy_hashing(source: &mut dyn Read, mut target: &File) -> io::Result<Hashed> {
    digest(source, |bytes| target.write_all(bytes))
}

/// Hashes a file from its start.
pub(crate) fn hash(file: &File) -> io::Result<Hashed> {
    { file }.seek(SeekFrom::Start(0))?;
    digest(&mut { file }, |_| Ok(()))
}

/// Copies a file whose digest is known; what turns out to have another length is hashed anew.
pub(crate) fn copy_known(source: &File, target: &File, known: Hashed) -> io::Result<Hashed> {
    let mut copied = 0;
    loop {
        match rustix::fs::copy_file_range(source, None, target, None, 1 << 30) {
            Ok(0) => break,
            Ok(count) => copied += count as u64,
            // Two file systems, or one that cannot.
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) if copied == 0 => {
                return copy_hashing(&mut { source }, target);
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    match copied == known.size_bytes {
        true => Ok(known),
        false => hash(target),
    }
}

fn digest(
    source: &mut dyn Read,
    mut pass_on: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<Hashed> {
    BUFFER.with_borrow_mut(|buffer| {
        buffer.resize(CHUNK, 0);
        let mut hasher = blake3::Hasher::new();
        let mut size_bytes = 0;
        loop {
            let count = match source.read(buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            hasher.update(&buffer[..count]);
            pass_on(&buffer[..count])?;
            size_bytes += count as u64;
        }
        Ok(Hashed {
            size_bytes,
            hash: hasher.finalize().into(),
        })
    })
}
