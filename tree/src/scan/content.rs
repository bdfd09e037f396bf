//! Reading the files of a context that are new or changed.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::BorrowedFd;

use rustix::fs::{FileType, Mode, OFlags, Stat};

use super::large;
use crate::Blake3;
use crate::tree::XattrsBuf;
use kiln_threads::Stop;

/// Bytes. From here on one file is hashed by several threads.
const LARGE: u64 = 16 << 20;

/// A file that was read: its length and hash.
pub(super) struct HashedFile {
    /// What was read, as `stat` tells it from others.
    pub(super) stat: Stat,
    pub(super) size: u64,
    pub(super) hash: Blake3,
    pub(super) xattrs: XattrsBuf,
}

/// Reads a file's bytes and extended attributes; of a directory only the attributes.
pub(super) fn read_content(
    root: BorrowedFd<'_>,
    path: &[u8],
    stop: &Stop,
) -> io::Result<HashedFile> {
    stop.check()?;
    // Opening a pipe that took the file's place meanwhile must not wait for a writer.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut file = File::from(rustix::fs::openat(root, path, flags, Mode::empty())?);
    let xattrs = read_xattrs(&file)?;
    let stat = rustix::fs::fstat(&file)?;
    let length = u64::try_from(stat.st_size).unwrap_or(0);
    if FileType::from_raw_mode(stat.st_mode).is_dir() {
        let hash = Blake3::from_bytes([0; 32]);
        return Ok(HashedFile {
            stat,
            size: 0,
            hash,
            xattrs,
        });
    }
    if length >= LARGE
        && let Some(hash) = large::hash(&file, length, stop)?
    {
        return Ok(HashedFile {
            stat,
            size: length,
            hash,
            xattrs,
        });
    }
    file.rewind()?;
    let mut hasher = blake3::Hasher::new();
    let mut size = 0;
    let at_once = length.clamp(4096, 1 << 17);
    let mut buffer = vec![0; usize::try_from(at_once).unwrap_or(4096)];
    loop {
        stop.check()?;
        let count = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&buffer[..count]);
        size += count as u64;
    }
    Ok(HashedFile {
        stat,
        size,
        hash: hasher.finalize().into(),
        xattrs,
    })
}

/// Reads the extended attributes that images keep: `user.*` and file capabilities.
fn read_xattrs(file: &File) -> io::Result<XattrsBuf> {
    let names = match read_growing(|buffer| rustix::fs::flistxattr(file, buffer)) {
        Ok(names) => names,
        Err(rustix::io::Errno::NOTSUP | rustix::io::Errno::PERM) => return Ok(XattrsBuf::default()),
        Err(error) => return Err(error.into()),
    };
    let mut pairs = Vec::new();
    for name in names.split(|&b| b == 0) {
        if !(name.starts_with(b"user.") || name == b"security.capability") {
            continue;
        }
        match read_growing(|buffer| rustix::fs::fgetxattr(file, name, buffer)) {
            Ok(value) => pairs.push((name.to_vec(), value)),
            Err(rustix::io::Errno::NODATA) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(if pairs.is_empty() {
        XattrsBuf::default()
    } else {
        XattrsBuf::new(pairs)
    })
}

fn read_growing(
    mut read: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>,
) -> rustix::io::Result<Vec<u8>> {
    let mut buffer = vec![0; 256];
    loop {
        match read(&mut buffer) {
            Ok(count) => {
                buffer.truncate(count);
                return Ok(buffer);
            }
            // XATTR_LIST_MAX and XATTR_SIZE_MAX are 64 KiB.
            Err(rustix::io::Errno::RANGE) if buffer.len() < 1 << 16 => {
                buffer.resize(buffer.len() * 4, 0);
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;

    /// What was a file when the walk met it may be something else when it is opened.
    #[test]
    fn a_pipe_is_not_waited_for_and_a_link_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let root = File::open(directory.path()).unwrap();
        rustix::fs::mkfifoat(&root, "pipe", Mode::RWXU).unwrap();
        std::fs::write(directory.path().join("file"), "text").unwrap();
        rustix::fs::symlinkat("file", &root, "link").unwrap();
        let read = |path: &[u8]| read_content(root.as_fd(), path, &Stop::default());
        assert_eq!(read(b"file").unwrap().hash, Blake3::of(b"text"));
        // A pipe cannot be rewound, and a link is told from a file.
        assert_eq!(
            read(b"pipe").err().and_then(|error| error.raw_os_error()),
            Some(rustix::io::Errno::SPIPE.raw_os_error())
        );
        assert_eq!(
            read(b"link").err().and_then(|error| error.raw_os_error()),
            Some(rustix::io::Errno::LOOP.raw_os_error())
        );
    }

    #[test]
    fn attributes_have_up_to_64_kib() {
        let of_length = |length: usize| {
            read_growing(|buffer| {
                if buffer.len() < length {
                    return Err(rustix::io::Errno::RANGE);
                }
                buffer[..length].fill(7);
                Ok(length)
            })
        };
        for length in [0, 256, 257, 1 << 16] {
            assert_eq!(of_length(length), Ok(vec![7; length]));
        }
        assert_eq!(of_length(usize::MAX), Err(rustix::io::Errno::RANGE));
    }
}
