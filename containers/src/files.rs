//! Files that several processes share.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use crate::ContainerError;

pub(crate) fn lock_file(path: &Path) -> Result<File, ContainerError> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(ContainerError::at(path))
}

pub(crate) fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<(), ContainerError> {
    write_file(path, &json(path, value)?)
}

/// Returns what a file is to hold.
pub(crate) fn json(path: &Path, value: &impl serde::Serialize) -> Result<Vec<u8>, ContainerError> {
    serde_json::to_vec_pretty(value).map_err(|source| ContainerError::NotStorable {
        path: path.to_owned(),
        source,
    })
}

/// Replaces a file, so that a reader sees the old or the new one.
pub(crate) fn write_file(path: &Path, text: &[u8]) -> Result<(), ContainerError> {
    let new = path.with_extension("new");
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, path))
        .map_err(ContainerError::at(path))
}

/// Writes to the disk what was written below a directory, with whatever else its file system holds:
/// one call for the few files of a container.
pub(crate) fn settle(directory: &Path) -> Result<(), ContainerError> {
    File::open(directory)
        .and_then(|file| Ok(rustix::fs::syncfs(file)?))
        .map_err(ContainerError::at(directory))
}

/// Room on the disk for a file that is to be written later, even if the disk is full then.
#[derive(Debug)]
pub(crate) struct Reserve {
    path: PathBuf,
    file: File,
}

/// A block of most file systems; what is reserved for is much shorter.
const RESERVED_BYTES: usize = 4096;

impl Reserve {
    /// Takes the room; `path` is a name that no other process uses.
    pub(crate) fn take(path: PathBuf) -> Result<Self, ContainerError> {
        let take = || -> io::Result<File> {
            let mut file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)?;
            match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, RESERVED_BYTES as u64) {
                // Where the file system cannot reserve room, zeros take it.
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => file.write_all(&[0; RESERVED_BYTES])?,
                other => other?,
            }
            Ok(file)
        };
        match take() {
            Ok(file) => Ok(Self { path, file }),
            Err(source) => Err(ContainerError::Io { path, source }),
        }
    }

    /// Replaces a file as [`write_file`] does, in the room that was taken.
    pub(crate) fn write(mut self, path: &Path, text: &[u8]) -> Result<(), ContainerError> {
        self.file
            .rewind()
            .and_then(|()| self.file.write_all(text))
            .and_then(|()| self.file.set_len(text.len() as u64))
            .and_then(|()| fs::rename(&self.path, path))
            .map_err(ContainerError::at(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_space_becomes_the_file() {
        let scratch = kiln_testbed::Scratch::new();
        let path = scratch.join("state.json");
        for text in ["long enough to be cut", "short"] {
            let reserve = Reserve::take(scratch.join("reserved")).unwrap();
            reserve.write(&path, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
    }
}
