//! Digests of large files: several threads read and hash a part each.
//!
//! BLAKE3 is a tree of chunks, so parts whose length is a power of two have digests of their own
//! that need only be put together. Parts are read in the order of the file, so many at a time as
//! the disk reads ahead anyway.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use blake3::Hasher;
use blake3::hazmat::{
    ChainingValue, HasherExt as _, Mode, left_subtree_len, merge_subtrees_non_root,
    merge_subtrees_root,
};
use rayon::prelude::*;

use crate::Blake3;
use kiln_files::{Piece, hole_at, may_have_holes};
use kiln_threads::Stop;

/// Bytes of a part: a power of two, and within a core's cache.
const PART: u64 = 256 << 10;

/// Parts that are read before others are begun.
const AT_ONCE: usize = 64;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Hashes a file that is `size_bytes` long, more than one part; none if it turns out to have
/// another length. Holes are not read. Changes the position that the file is read at.
pub(super) fn hash(file: &File, size_bytes: u64, stop: &Stop) -> io::Result<Option<Blake3>> {
    debug_assert!(size_bytes > PART, "a file of one part has no tree");
    let offsets: Vec<u64> = (0..size_bytes.div_ceil(PART))
        .map(|number| number * PART)
        .collect();
    let may_have_holes = may_have_holes(file);
    let mut parts = Vec::with_capacity(offsets.len());
    kiln_threads::prepare_pool();
    for offsets in offsets.chunks(AT_ONCE) {
        stop.check()?;
        let hashed: io::Result<Vec<ChainingValue>> = offsets
            .par_iter()
            .map(|&offset| {
                let length = PART.min(size_bytes - offset);
                if may_have_holes && hole_at(file, offset) >= length {
                    Ok(hash_zeros(offset, length))
                } else {
                    hash_part(file, offset, length)
                }
            })
            .collect();
        match hashed {
            Ok(hashed) => parts.extend(hashed),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    let has_grown = file.read_at(&mut [0], size_bytes)? > 0;
    let (left, right) = halves(&parts, size_bytes);
    Ok((!has_grown).then(|| merge_subtrees_root(&left, &right, Mode::Hash).into()))
}

fn hash_part(file: &File, offset: u64, length: u64) -> io::Result<ChainingValue> {
    BUFFER.with_borrow_mut(|buffer| {
        buffer.resize(usize::try_from(length).expect("a part is small"), 0);
        file.read_exact_at(buffer, offset)?;
        let mut hasher = Hasher::new();
        hasher.set_input_offset(offset);
        Ok(hasher.update(buffer).finalize_non_root())
    })
}

fn hash_zeros(offset: u64, length: u64) -> ChainingValue {
    let mut hasher = Hasher::new();
    hasher.set_input_offset(offset);
    for zeros in Piece::Hole(length).slices() {
        hasher.update(zeros);
    }
    hasher.finalize_non_root()
}

/// Returns the digests of the two halves of what these parts, of `size_bytes` together, are.
fn halves(parts: &[ChainingValue], size_bytes: u64) -> (ChainingValue, ChainingValue) {
    let left = left_subtree_len(size_bytes);
    let (first, rest) = parts.split_at(usize::try_from(left / PART).expect("no more than parts"));
    (whole(first, left), whole(rest, size_bytes - left))
}

fn whole(parts: &[ChainingValue], size_bytes: u64) -> ChainingValue {
    match parts {
        [only] => *only,
        _ => {
            let (left, right) = halves(parts, size_bytes);
            merge_subtrees_non_root(&left, &right, Mode::Hash)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn holes_come_to_the_digest_of_zeros() {
        let file = tempfile::tempfile().unwrap();
        let length = 9 * PART + 5;
        file.set_len(length).unwrap();
        let mut bytes = vec![0; usize::try_from(length).unwrap()];
        for at in [0, 3 * PART + 1, length - 1] {
            std::os::unix::fs::FileExt::write_all_at(&file, b"x", at).unwrap();
            bytes[usize::try_from(at).unwrap()] = b'x';
            assert_eq!(
                hash(&file, length, &Stop::default()).unwrap(),
                Some(Blake3::of(&bytes))
            );
        }
        // It ended in a hole, and is shorter by now.
        file.set_len(2 * PART).unwrap();
        assert_eq!(hash(&file, length, &Stop::default()).unwrap(), None);
    }

    #[test]
    fn parts_come_to_the_digest_of_the_whole() {
        let mut file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..20 * PART + 77).map(|n| (n * n / 7) as u8).collect();
        file.write_all(&bytes).unwrap();
        for parts in [1, 2, 3, 4, 7, 8, 13, 16, 20] {
            for more in [0, 1, 77, PART - 1] {
                let length = parts * PART + more;
                if length <= PART || length > bytes.len() as u64 {
                    continue;
                }
                file.set_len(length).unwrap();
                let expected = Blake3::of(&bytes[..usize::try_from(length).unwrap()]);
                assert_eq!(
                    hash(&file, length, &Stop::default()).unwrap(),
                    Some(expected),
                    "{length}"
                );
                // The file became longer or shorter meanwhile.
                assert_eq!(hash(&file, length + 1, &Stop::default()).unwrap(), None);
                if length - 1 > PART {
                    assert_eq!(hash(&file, length - 1, &Stop::default()).unwrap(), None);
                }
                file.set_len(0).unwrap();
                std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).unwrap();
            }
        }
    }
}
