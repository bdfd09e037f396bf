//! Files in directories that kiln did not make: a context, a layout.
//!
//! Its maker chose what the names stand for: a link to a secret, a pipe that no process writes to, a
//! device without an end, a file of petabytes that is all hole.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::scoped::{Links, open_scoped};

/// Opens a regular file of a directory; links lead to what is in the directory, as if that were `/`.
/// A directory is opened too, and says so when it is read.
///
/// # Errors
/// When nothing is there, or something else. Nothing waits for the other end of a pipe.
pub fn open_foreign(root: &Path, path: &Path) -> io::Result<File> {
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(root, directory, Mode::empty())?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = open_scoped(directory, path, flags, Links::FromRoot)?;
    let file = File::from(file);
    let kind = file.metadata()?.file_type();
    if kind.is_file() || kind.is_dir() {
        Ok(file)
    } else {
        Err(io::Error::new(
            ErrorKind::InvalidInput,
            "not a regular file",
        ))
    }
}

/// Reads such a file whole, if it has no more than `limit` bytes.
///
/// # Errors
/// As [`open_foreign`], when it cannot be read, and [`ErrorKind::FileTooLarge`].
pub fn read_foreign(root: &Path, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = open_foreign(root, path)?;
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        Err(io::Error::new(
            ErrorKind::FileTooLarge,
            format!("it is larger than {limit} bytes"),
        ))
    } else {
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, FileType, mknodat};

    use super::*;

    #[test]
    fn only_files_of_the_directory_are_read_and_not_without_end() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        fs::create_dir_all(root.join("in")).unwrap();
        fs::write(directory.path().join("secret"), "secret").unwrap();
        fs::write(root.join("file"), "12345").unwrap();
        let pipe = root.join("pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR, 0).unwrap();
        let large = File::create(root.join("large")).unwrap();
        large.set_len(1 << 40).unwrap();
        for (link, target) in [
            ("in/inside", "../file"),
            ("in/absolute", "/file"),
            ("outside", "../secret"),
            ("endless", "/dev/zero"),
        ] {
            symlink(target, root.join(link)).unwrap();
        }
        let read = |path: &str| read_foreign(&root, Path::new(path), 5);
        for path in ["file", "in/inside", "in/absolute"] {
            assert_eq!(read(path).unwrap(), b"12345", "{path}");
        }
        for (path, kind) in [
            ("pipe", ErrorKind::InvalidInput),
            ("large", ErrorKind::FileTooLarge),
            ("outside", ErrorKind::NotFound),
            ("endless", ErrorKind::NotFound),
            ("in", ErrorKind::IsADirectory),
        ] {
            assert_eq!(read(path).unwrap_err().kind(), kind, "{path}");
        }
    }
}
