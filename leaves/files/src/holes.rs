//! Files with holes: what was never written reads as zeros, takes no room, and is not worth reading.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// Zeros, for those who need to see a hole: few enough to stay in a core's cache.
pub(crate) static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Bytes. What is done with a longer hole is done piece by piece, as with anything long.
const LARGEST_HOLE: u64 = 16 << 20;

/// Bytes of the unit in which `stat` counts blocks, on every file system. (stat(2))
const STAT_BLOCK: u64 = 512;

/// A piece of what a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'b> {
    /// These bytes.
    Bytes(&'b [u8]),
    /// So many zeros, in a hole.
    Hole(u64),
}

impl<'b> Piece<'b> {
    /// Returns how many bytes it stands for.
    #[must_use]
    pub fn size_bytes(self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Hole(count) => count,
        }
    }

    /// Returns its bytes, a hole's some at a time.
    pub fn slices(self) -> impl Iterator<Item = &'b [u8]> {
        let (bytes, mut zeros) = match self {
            Self::Bytes(bytes) => (Some(bytes), 0),
            Self::Hole(count) => (None, count),
        };
        let zeros = std::iter::from_fn(move || {
            let count = usize::try_from(zeros).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
            zeros -= count as u64;
            (count > 0).then_some(&ZEROS[..count])
        });
        bytes.into_iter().chain(zeros)
    }
}

/// The pieces of a file from its start. The position that the file is read at has no part in it, and
/// may be changed.
#[derive(Debug)]
pub struct Pieces<'f> {
    file: &'f File,
    offset: u64,
    may_have_holes: bool,
}

impl<'f> Pieces<'f> {
    /// Begins at the start of a regular file.
    pub fn of(file: &'f File) -> Self {
        Self {
            file,
            offset: 0,
            may_have_holes: may_have_holes(file),
        }
    }

    /// Returns the next piece; none at the end of the file. Bytes fill the buffer unless the file
    /// ends, and holes are no smaller than it, nor larger than a few mebibytes.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn next<'b>(&mut self, buffer: &'b mut [u8]) -> io::Result<Option<Piece<'b>>> {
        if self.may_have_holes {
            let hole = hole_at(self.file, self.offset).min(LARGEST_HOLE);
            if hole >= buffer.len() as u64 {
                self.offset += hole;
                return Ok(Some(Piece::Hole(hole)));
            }
        }
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], self.offset) {
                Ok(0) => break,
                Ok(count) => {
                    filled += count;
                    self.offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok((filled > 0).then_some(Piece::Bytes(&buffer[..filled])))
    }
}

/// Says whether a file takes less room than its length.
#[must_use]
pub fn may_have_holes(file: &File) -> bool {
    let takes_less = |stat: std::fs::Metadata| stat.blocks() * STAT_BLOCK < stat.size();
    file.metadata().is_ok_and(takes_less)
}

/// Returns the length of the hole that begins at an offset, none being 0. Changes the position that
/// the file is read at.
pub fn hole_at(file: &File, offset: u64) -> u64 {
    let end = match rustix::fs::seek(file, SeekFrom::Data(offset)) {
        Ok(data) => data,
        // Nothing but a hole up to the end, or already beyond it.
        Err(Errno::NXIO) => file.metadata().map_or(offset, |stat| stat.size()),
        // A file system that does not tell.
        Err(_) => offset,
    };
    end.saturating_sub(offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_the_file() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(3_000_000).unwrap();
        file.write_all_at(b"first", 7).unwrap();
        file.write_all_at(b"second", 1_000_000).unwrap();
        let mut expected = vec![0; 3_000_000];
        expected[7..12].copy_from_slice(b"first");
        expected[1_000_000..1_000_006].copy_from_slice(b"second");
        let (mut pieces, mut buffer) = (Pieces::of(&file), vec![0; 100_000]);
        let (mut bytes, mut read) = (Vec::new(), 0);
        while let Some(piece) = pieces.next(&mut buffer).unwrap() {
            let before = bytes.len() as u64;
            piece
                .slices()
                .for_each(|slice| bytes.extend_from_slice(slice));
            assert_eq!(bytes.len() as u64 - before, piece.size_bytes());
            read += match piece {
                Piece::Bytes(bytes) => bytes.len(),
                Piece::Hole(_) => 0,
            };
        }
        assert!(bytes == expected);
        // Where there are holes, they are not read.
        let has_holes = file.metadata().unwrap().blocks() < 3_000_000 / STAT_BLOCK / 2;
        assert!(read < 500_000 || !has_holes, "{read}");
    }
}
