//! What files take on disk: bytes, and inodes, of which most file systems have a fixed number.

use std::collections::HashSet;
use std::fs::{self, Metadata};
use std::io;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use walkdir::WalkDir;

/// What files take on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskUsage {
    /// Bytes, in whole blocks.
    pub bytes: u64,
    /// Files and directories; a file with several names is one.
    pub inodes: u64,
}

/// One of the two things that files take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskMeasure {
    /// Bytes.
    Bytes,
    /// Inodes.
    Inodes,
}

impl DiskUsage {
    /// The block of most file systems: what the smallest file or directory takes.
    pub const BLOCK: u64 = 4096;

    /// Returns what files of these lengths in bytes take, each in blocks of its own, where nobody
    /// looks at the disk.
    pub fn of_lengths(lengths: impl IntoIterator<Item = u64>) -> Self {
        let file = |length: u64| Self {
            bytes: length
                .div_ceil(Self::BLOCK)
                .max(1)
                .saturating_mul(Self::BLOCK),
            inodes: 1,
        };
        lengths.into_iter().map(file).sum()
    }

    /// Returns one of the two numbers.
    #[must_use]
    pub fn measured_in(self, measure: DiskMeasure) -> u64 {
        match measure {
            DiskMeasure::Bytes => self.bytes,
            DiskMeasure::Inodes => self.inodes,
        }
    }

    /// Returns what one file or directory takes, without what is in it.
    #[must_use]
    pub fn of_one(metadata: &Metadata) -> Self {
        Self {
            // stat(2): st_blocks counts 512 bytes on every file system.
            bytes: metadata.blocks() * 512,
            inodes: 1,
        }
    }

    /// Returns what a file takes; nothing if it is not there.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn of_file(path: &Path) -> io::Result<Self> {
        match fs::symlink_metadata(path) {
            Ok(metadata) => Ok(Self::of_one(&metadata)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Measures a file, or a directory with everything in it, by a walk. What vanishes meanwhile, or
    /// is not there, takes nothing.
    ///
    /// # Errors
    /// When a directory cannot be read.
    pub fn of_tree(path: &Path) -> io::Result<Self> {
        let mut usage = Self::default();
        let mut linked = HashSet::new();
        for entry in WalkDir::new(path) {
            let metadata = entry.and_then(|entry| entry.metadata());
            let metadata = match metadata.map_err(io::Error::from) {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let is_alone = metadata.is_dir() || metadata.nlink() == 1;
            if is_alone || linked.insert((metadata.dev(), metadata.ino())) {
                usage += Self::of_one(&metadata);
            }
        }
        Ok(usage)
    }
}

impl Add for DiskUsage {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

impl AddAssign for DiskUsage {
    fn add_assign(&mut self, other: Self) {
        // What is written down may say anything.
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.inodes = self.inodes.saturating_add(other.inodes);
    }
}

impl Sub for DiskUsage {
    type Output = Self;

    fn sub(mut self, other: Self) -> Self {
        self -= other;
        self
    }
}

impl SubAssign for DiskUsage {
    fn sub_assign(&mut self, other: Self) {
        self.bytes = self.bytes.saturating_sub(other.bytes);
        self.inodes = self.inodes.saturating_sub(other.inodes);
    }
}

impl Sum for DiskUsage {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), Add::add)
    }
}

/// Returns so many hundredths of a number.
#[must_use]
pub fn hundredths(of: u64, count: u8) -> u64 {
    let part = u128::from(of) * u128::from(count) / 100;
    u64::try_from(part).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_one_file_are_measured_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        fs::write(path.join("one"), [1; 10_000]).unwrap();
        fs::hard_link(path.join("one"), path.join("two")).unwrap();
        fs::write(path.join("alone"), [1; 10_000]).unwrap();
        let usage = DiskUsage::of_tree(path).unwrap();
        assert_eq!(usage.inodes, 3);
        assert!((20_000..40_000).contains(&usage.bytes), "{usage:?}");
        let one = DiskUsage::of_file(&path.join("one")).unwrap();
        assert!(one.inodes == 1 && one.bytes >= 10_000, "{one:?}");
        for measured in [DiskUsage::of_tree, DiskUsage::of_file] {
            let nothing = measured(&path.join("missing")).unwrap();
            assert_eq!(nothing, DiskUsage::default());
        }
    }

    #[test]
    fn usage_of_lengths_counts_whole_blocks_and_never_overflows() {
        let usage = DiskUsage::of_lengths([0, 1, 4096, 4097]);
        assert_eq!((usage.bytes, usage.inodes), (5 * 4096, 4));
        let most = DiskUsage::of_lengths([u64::MAX, u64::MAX]);
        assert_eq!(most.bytes, u64::MAX);
        assert_eq!((usage - most).bytes, 0);
    }
}
