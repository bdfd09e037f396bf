//! What was added to the state directory since garbage was collected last.
//!
//! ```text
//! grown   bytes and inodes, in two numbers of twenty digits: what kilns that have ended added
//! ```
//!
//! Each process counts what it makes and adds that to the file when it ends; a flock on the file lets
//! one do so at a time. One that is killed adds nothing.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kiln_files::unless_gone;

use crate::DiskUsage;

/// What this process added, and the file to which all do.
#[derive(Debug)]
pub(crate) struct Growth {
    path: PathBuf,
    own: Mutex<DiskUsage>,
}

impl Growth {
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            path: root.join("grown"),
            own: Mutex::default(),
        }
    }

    /// Counts something that this process made.
    pub(crate) fn add(&self, usage: DiskUsage) {
        *self.own() += usage;
    }

    /// Returns what was added since the last collection.
    pub(crate) fn total(&self) -> DiskUsage {
        let others = File::open(&self.path).and_then(|mut file| read(&mut file));
        others.unwrap_or_default() + *self.own()
    }

    /// Begins anew: what was added so far is in the inventory that is taken next.
    pub(crate) fn forget(&self) -> io::Result<()> {
        *self.own() = DiskUsage::default();
        unless_gone(fs::remove_file(&self.path))
    }

    /// Adds what this process made to the file.
    pub(crate) fn settle(&self) -> io::Result<()> {
        let own = std::mem::take(&mut *self.own());
        if own == DiskUsage::default() {
            return Ok(());
        }
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&self.path)?;
        file.lock()?;
        let all = read(&mut file).unwrap_or_default() + own;
        file.write_all_at(
            format!("{:020} {:020}\n", all.bytes, all.inodes).as_bytes(),
            0,
        )
    }

    fn own(&self) -> MutexGuard<'_, DiskUsage> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the two numbers; what is damaged says nothing.
fn read(file: &mut File) -> io::Result<DiskUsage> {
    let mut text = String::new();
    file.take(64).read_to_string(&mut text)?;
    let numbers: Vec<u64> = text
        .split_ascii_whitespace()
        .map_while(|number| number.parse().ok())
        .collect();
    Ok(match numbers[..] {
        [bytes, inodes] => DiskUsage { bytes, inodes },
        _ => DiskUsage::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_add_up_until_the_next_collection() {
        let directory = tempfile::tempdir().unwrap();
        let usage = |bytes, inodes| DiskUsage { bytes, inodes };
        let [one, other] = [(); 2].map(|()| Growth::new(directory.path()));
        one.settle().unwrap();
        assert!(!directory.path().join("grown").exists());
        one.add(usage(10, 1));
        one.add(usage(100, 1));
        assert_eq!(one.total(), usage(110, 2));
        one.settle().unwrap();
        other.add(usage(1, 1));
        assert_eq!(other.total(), usage(111, 3));
        other.settle().unwrap();
        assert_eq!(one.total(), usage(111, 3));
        one.forget().unwrap();
        assert_eq!(other.total(), DiskUsage::default());
        one.forget().unwrap();
        fs::write(directory.path().join("grown"), "12 x").unwrap();
        assert_eq!(other.total(), DiskUsage::default());
        other.add(usage(5, 1));
        other.settle().unwrap();
        assert_eq!(one.total(), usage(5, 1));
    }
}
