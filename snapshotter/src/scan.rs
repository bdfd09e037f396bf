//! Reading a directory into entries: what is there, whose it is, and what it hashes to.
//!
//! A level of directories at a time, the directories and the files of each in parallel: no
//! recursion, so a step that nests directories deeply costs no stack, and no more open files than
//! threads.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use kiln_files::GuestPath;
use kiln_oci::Timestamp;
use kiln_threads::Stop;
use kiln_tree::{Device, NodeKind, XattrsBuf};
use rayon::prelude::*;
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, major, minor, openat, readlinkat, statat,
};
use rustix::io::Errno;

use crate::copy::{self, Hashed};
use crate::disk::{self, Root};
use crate::error::LayerError;
use crate::xattr;

/// Something found on disk.
#[derive(Debug)]
pub(crate) struct ScannedNode {
    pub(crate) path: GuestPath,
    pub(crate) kind: ScannedKind,
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Timestamp,
    /// What the index leaves out of the time.
    pub(crate) nanoseconds: i64,
    pub(crate) xattrs: XattrsBuf,
    /// Device and number of the inode, if it has several names.
    pub(crate) shared: Option<(u64, u64)>,
}

/// The kind of a scanned file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ScannedKind {
    File(Hashed),
    Directory {
        opaque: bool,
    },
    Symlink(Vec<u8>),
    CharDevice(Device),
    BlockDevice(Device),
    Fifo,
    Whiteout,
    /// Images cannot hold it.
    Socket,
}

impl ScannedNode {
    /// Returns what the index calls it; none for what images cannot hold.
    pub(crate) fn index_kind(&self) -> Option<NodeKind<'_>> {
        Some(match &self.kind {
            ScannedKind::File(hashed) => NodeKind::File {
                size: hashed.size_bytes,
                hash: hashed.hash,
            },
            ScannedKind::Directory { opaque } => NodeKind::Directory {
                opaque: *opaque,
                implied: false,
            },
            ScannedKind::Symlink(target) => NodeKind::Symlink { target },
            ScannedKind::CharDevice(device) => NodeKind::CharDevice(*device),
            ScannedKind::BlockDevice(device) => NodeKind::BlockDevice(*device),
            ScannedKind::Fifo => NodeKind::Fifo,
            ScannedKind::Whiteout => NodeKind::Whiteout,
            ScannedKind::Socket => return None,
        })
    }
}

/// Reads everything below `root`, itself left out, in the order of a walk.
pub(crate) fn scan(root: &Root, stop: &Stop) -> Result<Vec<ScannedNode>, LayerError> {
    let mut nodes = Vec::new();
    let mut level = vec![GuestPath::ROOT];
    kiln_threads::prepare_pool();
    while !level.is_empty() {
        let found: Result<Vec<Vec<ScannedNode>>, LayerError> = level
            .par_iter()
            .map(|directory| scan_directory(root, directory, stop))
            .collect();
        level.clear();
        for node in found?.into_iter().flatten() {
            if matches!(node.kind, ScannedKind::Directory { .. }) {
                level.push(node.path.clone());
            }
            nodes.push(node);
        }
    }
    nodes.par_sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(nodes)
}

/// Reads `root` itself.
pub(crate) fn scan_root(root: &Root) -> io::Result<ScannedNode> {
    let directory = root.open_inside(&GuestPath::ROOT, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let found = xattr::read(directory.as_fd())?;
    let kind = ScannedKind::Directory {
        opaque: found.opaque,
    };
    Ok(ScannedNode {
        xattrs: found.recorded,
        ..node(&GuestPath::ROOT, kind, &fstat(&directory)?)
    })
}

fn scan_directory(
    root: &Root,
    path: &GuestPath,
    stop: &Stop,
) -> Result<Vec<ScannedNode>, LayerError> {
    let host = || root.path().join(path.as_relative());
    let directory = root
        .open_inside(path, OFlags::RDONLY | OFlags::DIRECTORY)
        .map_err(LayerError::at(host()))?;
    let names = names(&directory).map_err(LayerError::at(host()))?;
    names
        .par_iter()
        .map(|name| {
            let path = path.join(name);
            entry(&directory, name, &path, stop)
                .map_err(LayerError::at(root.path().join(path.as_relative())))
        })
        .collect()
}

/// Returns what is in a directory.
pub(crate) fn names(directory: &OwnedFd) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

/// Reads what has a name in a directory, which `path` leads to.
pub(crate) fn entry(
    directory: &OwnedFd,
    name: &[u8],
    path: &GuestPath,
    stop: &Stop,
) -> io::Result<ScannedNode> {
    stop.check()?;
    let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let mut node = node(path, ScannedKind::Fifo, &stat);
    let open = |flags| {
        openat(
            directory,
            name,
            flags | OFlags::CLOEXEC | OFlags::NOFOLLOW,
            Mode::empty(),
        )
    };
    node.kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {
            let file = File::from(open(OFlags::RDONLY)?);
            node.xattrs = xattr::read(file.as_fd())?.recorded;
            node.shared = (stat.st_nlink > 1).then_some((stat.st_dev, stat.st_ino));
            ScannedKind::File(copy::hash(&file, stop)?)
        }
        FileType::Directory => {
            let found = xattr::read(open(OFlags::RDONLY | OFlags::DIRECTORY)?.as_fd())?;
            node.xattrs = found.recorded;
            ScannedKind::Directory {
                opaque: found.opaque,
            }
        }
        FileType::Symlink => {
            let target = readlinkat(directory, name, Vec::new())?;
            ScannedKind::Symlink(target.into_bytes())
        }
        FileType::CharacterDevice if stat.st_rdev == 0 => ScannedKind::Whiteout,
        FileType::CharacterDevice => ScannedKind::CharDevice(device_of(&stat)),
        FileType::BlockDevice => ScannedKind::BlockDevice(device_of(&stat)),
        FileType::Fifo => ScannedKind::Fifo,
        FileType::Socket => ScannedKind::Socket,
        FileType::Unknown => return Err(Errno::INVAL.into()),
    };
    Ok(node)
}

fn node(path: &GuestPath, kind: ScannedKind, stat: &Stat) -> ScannedNode {
    ScannedNode {
        path: path.clone(),
        kind,
        mode: u16::try_from(stat.st_mode & 0o7777).expect("twelve bits"),
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: disk::mtime_of(stat),
        nanoseconds: disk::nanoseconds_of(stat),
        xattrs: XattrsBuf::default(),
        shared: None,
    }
}

fn device_of(stat: &Stat) -> Device {
    Device {
        major: major(stat.st_rdev),
        minor: minor(stat.st_rdev),
    }
}
