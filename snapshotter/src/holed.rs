//! Files in the store have holes where they would have zeros.
//!
//! Disk images and data files of databases are mostly zeros: a copy of one that takes 40 MB must not
//! fill 40 GB. A tar says nothing of holes, so zeros are found by looking at them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use kiln_files::Piece;

/// Bytes. As many zeros become a hole, at a multiple of that many: less, and files fall into pieces.
const BLOCK: usize = 64 << 10;

/// A new file that is written from its start.
#[derive(Debug)]
pub(crate) struct HoledFile<'f> {
    file: &'f File,
    offset: u64,
    /// Where the last byte that was written ends.
    written: u64,
}

impl<'f> HoledFile<'f> {
    /// Begins with a file that is empty.
    pub(crate) fn new(file: &'f File) -> Self {
        Self {
            file,
            offset: 0,
            written: 0,
        }
    }

    /// Writes the next piece.
    pub(crate) fn write(&mut self, piece: Piece<'_>) -> io::Result<()> {
        let bytes = match piece {
            Piece::Bytes(bytes) => bytes,
            Piece::Hole(count) => {
                self.offset += count;
                return Ok(());
            }
        };
        let mut pending = 0;
        let mut end = 0;
        while end < bytes.len() {
            let start = end;
            let place = usize::try_from((self.offset + start as u64) % BLOCK as u64);
            let left = BLOCK - place.expect("below a block");
            end = bytes.len().min(start + left);
            if is_hole(&bytes[start..end]) {
                self.put(pending, &bytes[pending..start])?;
                pending = end;
            }
        }
        self.put(pending, &bytes[pending..])?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    fn put(&mut self, start: usize, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let start = self.offset + start as u64;
        self.file.write_all_at(bytes, start)?;
        self.written = start + bytes.len() as u64;
        Ok(())
    }

    /// Ends the file, which may be with a hole, and returns its length.
    pub(crate) fn finish(self) -> io::Result<u64> {
        if self.written < self.offset {
            self.file.set_len(self.offset)?;
        }
        Ok(self.offset)
    }
}

fn is_hole(block: &[u8]) -> bool {
    static ZEROS: [u8; BLOCK] = [0; BLOCK];
    block == ZEROS
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Seek as _};
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn runs_of_zeros_become_holes_and_read_as_zeros() {
        let dense = tempfile::tempfile().unwrap();
        let blank = vec![0; 20 * BLOCK];
        dense.write_all_at(&blank, 0).unwrap();
        for data in [
            0..0,
            0..1,
            BLOCK..2 * BLOCK,
            3 * BLOCK - 1..5 * BLOCK + 1,
            20 * BLOCK - 1..20 * BLOCK,
        ] {
            let mut bytes = blank.clone();
            bytes[data.clone()].fill(7);
            for at_once in [1000, BLOCK, 3 * BLOCK, bytes.len()] {
                let mut file = tempfile::tempfile().unwrap();
                let mut holed = HoledFile::new(&file);
                for piece in bytes.chunks(at_once) {
                    holed.write(Piece::Bytes(piece)).unwrap();
                }
                assert_eq!(holed.finish().unwrap(), bytes.len() as u64);
                let mut read = Vec::new();
                file.rewind().unwrap();
                file.read_to_end(&mut read).unwrap();
                assert!(read == bytes, "{data:?} {at_once}");
                let is_smaller =
                    file.metadata().unwrap().blocks() < dense.metadata().unwrap().blocks();
                // tmpfs and others have holes; on one that has not, nothing is lost.
                let sparse = tempfile::tempfile().unwrap();
                sparse.set_len(bytes.len() as u64).unwrap();
                let has_holes = sparse.metadata().unwrap().blocks() == 0;
                assert!(
                    is_smaller || !has_holes || at_once < BLOCK,
                    "{data:?} {at_once}"
                );
            }
        }
    }
}
