//! Files that are named by digests, `<directory>/<two digits>/<name>`, gone through all at once:
//! each costs as few system calls as it can, and all processors share in them.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use kiln_oci::Timestamp;
use rayon::prelude::*;
use rustix::fs::{AtFlags, Mode, OFlags, openat, statat};

use crate::{DiskUsage, Store};

/// A file, or a directory, that is named by a digest.
#[derive(Debug)]
pub struct SpreadFile<'a> {
    group: BorrowedFd<'a>,
    path: &'a Path,
    name: &'a str,
}

/// What a look at a file shows.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// What it takes on disk, without what is in it.
    pub usage: DiskUsage,
    /// When it was changed last.
    pub changed: Timestamp,
    /// The number of its inode.
    pub inode: u64,
}

impl SpreadFile<'_> {
    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name
    }

    /// Returns its path.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.path.join(self.name)
    }

    /// Reads it whole.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        read_small(self.group, Path::new(self.name))
    }

    /// Reads a file in it whole.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read_inside(&self, name: &str) -> io::Result<Vec<u8>> {
        read_small(self.group, &Path::new(self.name).join(name))
    }

    /// Looks at the file or directory itself.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn look(&self) -> io::Result<Look> {
        let stat = statat(self.group, self.name, AtFlags::SYMLINK_NOFOLLOW)?;
        let usage = DiskUsage {
            // stat(2): st_blocks counts 512 bytes on every file system.
            bytes: u64::try_from(stat.st_blocks).unwrap_or_default() * 512,
            inodes: 1,
        };
        let changed = Timestamp {
            seconds: stat.st_mtime,
            nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or_default(),
        };
        Ok(Look {
            usage,
            changed,
            inode: stat.st_ino,
        })
    }
}

impl Store {
    /// Calls `look` for everything in a directory of this form, on all processors, and returns what it
    /// returns, in no order.
    ///
    /// # Errors
    /// When a directory cannot be read, and those of `look`.
    pub fn look_at_spread<T: Send>(
        &self,
        directory: &str,
        look: impl Fn(&SpreadFile<'_>) -> io::Result<Option<T>> + Sync,
    ) -> io::Result<Vec<T>> {
        let in_group = |path: PathBuf| -> io::Result<Vec<T>> {
            let group = match File::open(&path) {
                // Removed meanwhile, or no directory.
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
                other => other?,
            };
            let mut found = Vec::new();
            for entry in list(&path)? {
                let name = entry?.file_name();
                let Some(name) = name.to_str() else {
                    continue;
                };
                found.extend(look(&SpreadFile {
                    group: group.as_fd(),
                    path: &path,
                    name,
                })?);
                self.count(1);
            }
            Ok(found)
        };
        let mut groups = Vec::new();
        for group in list(&self.path(directory))? {
            let group = group?;
            if group.file_type()?.is_dir() {
                groups.push(group.path());
            }
        }
        kiln_threads::prepare_pool();
        let found: Vec<Vec<T>> = groups
            .into_par_iter()
            .map(in_group)
            .collect::<io::Result<_>>()?;
        Ok(found.into_iter().flatten().collect())
    }
}

fn list(path: &Path) -> io::Result<impl Iterator<Item = io::Result<fs::DirEntry>>> {
    match fs::read_dir(path) {
        Ok(entries) => Ok(Some(entries).into_iter().flatten()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None.into_iter().flatten()),
        Err(error) => Err(error),
    }
}

/// Reads a small file in an open directory: one that fits in a block costs three system calls.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn read_small(directory: impl AsFd, name: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let mut file = File::from(openat(directory, name, flags, Mode::empty())?);
    let mut block = [0; 4096];
    let count = file.read(&mut block)?;
    let mut bytes = block[..count].to_vec();
    // A regular file is read short only at its end.
    if count == block.len() {
        file.read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_files_are_read_whole_whatever_their_length() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        assert!(
            store
                .look_at_spread("layers", |_| Ok(Some(())))
                .unwrap()
                .is_empty()
        );
        for (name, length) in [("ab/1", 0), ("ab/2", 4096), ("00/3", 4097), ("00/4", 10)] {
            let path = store.path("actions").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, vec![b'x'; length]).unwrap();
        }
        fs::write(store.path("actions/README"), "").unwrap();
        let look = |file: &SpreadFile<'_>| {
            let look = file.look()?;
            assert!(look.usage.inodes == 1 && look.changed > Timestamp::EPOCH);
            assert!(file.path().is_file());
            Ok(Some((file.name().to_owned(), file.read()?.len())))
        };
        let mut found = store.look_at_spread("actions", look).unwrap();
        found.sort();
        let expected = [("1", 0), ("2", 4096), ("3", 4097), ("4", 10)];
        assert_eq!(
            found,
            expected.map(|(name, length)| (name.to_owned(), length))
        );
        let inside = |file: &SpreadFile<'_>| file.read_inside("facts").map(Some);
        assert!(store.look_at_spread("actions", inside).is_err());
    }
}
