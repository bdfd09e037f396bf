//! Bytes that more are added to: in memory while they are few, then in a file without a name.
//!
//! What is kept of each of a million files comes to hundreds of megabytes. In a file they take
//! memory that the kernel can have back at any time. Where no such file can be made, or its disk is
//! full, they stay in memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use rustix::fs::{CWD, Mode, OFlags};

use crate::FileBytes;

/// Bytes that are kept in memory before they go to the file.
const TAIL: usize = 4 << 20;

/// Where files for many bytes are made.
static DIRECTORY: RwLock<Option<PathBuf>> = RwLock::new(None);

/// Has this process keep what becomes too much for memory in files without names in a directory,
/// on whatever disk that is. Until this is called, everything stays in memory.
pub fn spill_into(directory: &Path) {
    let mut place = DIRECTORY.write().unwrap_or_else(PoisonError::into_inner);
    *place = Some(directory.to_owned());
}

/// Bytes that records are added to, each of which can be read again at the offset it was added at.
#[derive(Debug)]
pub struct GrowingBytes {
    /// What has gone to the file, or was there from the start.
    front: FileBytes,
    /// The file that holds the front; none if that is somewhere else.
    file: Option<File>,
    /// What follows, in memory.
    tail: Vec<u8>,
    /// How long the tail may become.
    limit: usize,
}

impl GrowingBytes {
    /// Starts with bytes that are there.
    #[must_use]
    pub fn of(front: FileBytes) -> Self {
        Self {
            front,
            file: None,
            tail: Vec::new(),
            limit: TAIL,
        }
    }

    /// Returns how many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.front.len() + self.tail.len()
    }

    /// Says whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a record, by what appends its bytes to others, and returns its offset.
    pub fn add(&mut self, append: impl FnOnce(&mut Vec<u8>)) -> usize {
        if self.tail.len() >= self.limit {
            match self.write_out() {
                Ok(()) => self.tail.clear(),
                Err(_) => self.limit = usize::MAX,
            }
        }
        let offset = self.len();
        append(&mut self.tail);
        offset
    }

    /// Returns the bytes of a record that was added at an offset, and some of those behind it.
    ///
    /// # Panics
    /// When there are not so many.
    #[must_use]
    pub fn record(&self, offset: usize) -> &[u8] {
        match offset.checked_sub(self.front.len()) {
            None => &self.front[offset..],
            Some(in_tail) => &self.tail[in_tail..],
        }
    }

    /// Returns all of them.
    #[must_use]
    pub fn finish(mut self) -> FileBytes {
        if self.front.is_empty() {
            self.tail.shrink_to_fit();
            return self.tail.into();
        }
        if !self.tail.is_empty() && self.write_out().is_err() {
            let mut all = self.front.to_vec();
            all.extend_from_slice(&self.tail);
            return all.into();
        }
        self.front
    }

    /// Makes the tail part of the front as well.
    fn write_out(&mut self) -> io::Result<()> {
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                let file = nameless()?;
                file.write_all_at(&self.front, 0)?;
                file
            }
        };
        file.write_all_at(&self.tail, self.front.len() as u64)?;
        self.front = FileBytes::mapped(&file)?;
        self.file = Some(file);
        Ok(())
    }
}

impl Default for GrowingBytes {
    fn default() -> Self {
        Self::of(FileBytes::default())
    }
}

impl Clone for GrowingBytes {
    /// What is added to one of them does not show in the other.
    fn clone(&self) -> Self {
        Self {
            front: self.front.clone(),
            file: None,
            tail: self.tail.clone(),
            limit: self.limit,
        }
    }
}

/// Makes a file without a name.
fn nameless() -> io::Result<File> {
    let place = DIRECTORY.read().unwrap_or_else(PoisonError::into_inner);
    let directory = place.as_ref().ok_or(io::ErrorKind::NotFound)?;
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, directory, flags, Mode::RUSR | Mode::WUSR)?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds records of growing lengths, and returns their offsets.
    fn fill(bytes: &mut GrowingBytes, total: usize) -> Vec<usize> {
        let mut offsets = Vec::new();
        while bytes.len() < total {
            let number = offsets.len();
            let record = vec![number as u8; number % 70_000 + 1];
            offsets.push(bytes.add(|out| out.extend_from_slice(&record)));
        }
        offsets
    }

    fn check(bytes: &GrowingBytes, offsets: &[usize]) {
        for (number, offset) in offsets.iter().enumerate() {
            let record = &bytes.record(*offset)[..number % 70_000 + 1];
            assert!(record.iter().all(|&byte| byte == number as u8));
        }
    }

    #[test]
    fn records_are_read_where_they_were_added() {
        let directory = tempfile::tempdir().unwrap();
        // Before and after there is a place for them.
        for spilling in [false, true] {
            if spilling {
                spill_into(directory.path());
            }
            for total in [0, 1, TAIL, TAIL * 2 + 1, TAIL * 5] {
                let mut bytes = GrowingBytes::default();
                let offsets = fill(&mut bytes, total);
                check(&bytes, &offsets);
                assert_eq!(bytes.file.is_some(), spilling && total > TAIL);
                // Neither sees what the other gets, nor does either lose what it had.
                let mut other = bytes.clone();
                bytes.add(|out| out.push(1));
                other.add(|out| out.extend_from_slice(&[2; TAIL]));
                other.add(|out| out.push(3));
                check(&bytes, &offsets);
                check(&other, &offsets);
                let length = bytes.len();
                let (bytes, other) = (bytes.finish(), other.finish());
                assert_eq!(bytes.len(), length);
                assert_eq!(bytes.last(), Some(&1));
                assert_eq!(other.len(), length + TAIL);
                assert!(bytes[..length - 1] == other[..length - 1]);
                assert_eq!((other[length - 1], other.last()), (2, Some(&3)));
                // What was finished can be gone on with.
                let mut more = GrowingBytes::of(bytes.clone());
                more.add(|out| out.push(4));
                let more = more.finish();
                assert!(more[..length] == *bytes && more[length..] == [4]);
            }
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        // The place is gone by now.
        spill_into(&directory.path().join("gone"));
        let mut bytes = GrowingBytes::default();
        let offsets = fill(&mut bytes, TAIL * 2);
        check(&bytes, &offsets);
        assert!(bytes.file.is_none());
    }
}
