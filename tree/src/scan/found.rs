//! A file that a walk met, as it is now.

use rustix::fs::{FileType, Stat};

use super::content::HashedFile;
use crate::stat_index::FileIdentity;
use crate::tree::{Device, Entry, NodeKind, XattrsBuf};
use crate::{Blake3, StatIndex};
use kiln_oci::Timestamp;

/// A file as it is now.
pub(super) struct FoundFile {
    pub(super) path: Vec<u8>,
    pub(super) kind: FoundKind,
    mode: u16,
    uid: u32,
    gid: u32,
    mtime: Timestamp,
    xattrs: XattrsBuf,
    pub(super) identity: FileIdentity,
    pub(super) has_several_names: bool,
    /// Whether content or attributes are not known yet.
    pub(super) must_be_read: bool,
}

pub(super) enum FoundKind {
    File { size: u64, hash: Blake3 },
    HardLink { target: Vec<u8> },
    Directory,
    Symlink { target: Vec<u8> },
    CharDevice(Device),
    BlockDevice(Device),
    Fifo,
}

impl FoundFile {
    /// Describes a file by what `stat` says; none for one that images cannot hold.
    ///
    /// `owner` is what the context says; `target` is the text of a symbolic link.
    pub(super) fn new(
        path: &[u8],
        stat: &Stat,
        owner: (u32, u32),
        now: Timestamp,
        target: Vec<u8>,
    ) -> Option<Self> {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => FoundKind::File {
                size: u64::try_from(stat.st_size).unwrap_or(0),
                hash: Blake3::from_bytes([0; 32]),
            },
            FileType::Directory => FoundKind::Directory,
            FileType::Symlink => FoundKind::Symlink { target },
            FileType::CharacterDevice => FoundKind::CharDevice(device(stat)),
            FileType::BlockDevice => FoundKind::BlockDevice(device(stat)),
            FileType::Fifo => FoundKind::Fifo,
            // What talks through it does not come along: BuildKit makes it a file without content.
            FileType::Socket => FoundKind::File {
                size: 0,
                hash: Blake3::of(b""),
            },
            FileType::Unknown => return None,
        };
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        Some(Self {
            path: path.to_vec(),
            must_be_read: is_file || matches!(kind, FoundKind::Directory),
            has_several_names: is_file && stat.st_nlink > 1,
            kind,
            mode: (stat.st_mode & 0o7777) as u16,
            uid: owner.0,
            gid: owner.1,
            mtime: mtime(stat),
            xattrs: XattrsBuf::default(),
            identity: identity(stat, now),
        })
    }

    /// Appends it, for [`FoundFile::decode`].
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.has_several_names) | u8::from(self.must_be_read) << 1);
        self.identity.encode(out);
        self.entry().encode(out);
    }

    /// Takes one from the start of some bytes.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (flags, rest) = bytes.split_first()?;
        let (identity, rest) = rest.split_at_checked(FileIdentity::LENGTH)?;
        let (entry, _) = Entry::decode(rest)?;
        let kind = match entry.kind {
            NodeKind::File { size, hash } => FoundKind::File { size, hash },
            NodeKind::HardLink { target } => FoundKind::HardLink {
                target: target.to_vec(),
            },
            NodeKind::Directory { .. } => FoundKind::Directory,
            NodeKind::Symlink { target } => FoundKind::Symlink {
                target: target.to_vec(),
            },
            NodeKind::CharDevice(device) => FoundKind::CharDevice(device),
            NodeKind::BlockDevice(device) => FoundKind::BlockDevice(device),
            NodeKind::Fifo => FoundKind::Fifo,
            NodeKind::Whiteout => return None,
        };
        Some(Self {
            path: entry.path.to_vec(),
            kind,
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
            // They come with the content.
            xattrs: XattrsBuf::default(),
            identity: FileIdentity::decode(identity),
            has_several_names: flags & 1 != 0,
            must_be_read: flags & 2 != 0,
        })
    }

    /// Says that it is a further name of a file.
    pub(super) fn link_to(&mut self, first: &[u8]) {
        self.kind = FoundKind::HardLink {
            target: first.to_vec(),
        };
        self.must_be_read = false;
    }

    pub(super) fn entry(&self) -> Entry<'_> {
        let kind = match &self.kind {
            FoundKind::File { size, hash } => NodeKind::File {
                size: *size,
                hash: *hash,
            },
            FoundKind::HardLink { target } => NodeKind::HardLink { target },
            FoundKind::Directory => NodeKind::DIRECTORY,
            FoundKind::Symlink { target } => NodeKind::Symlink { target },
            FoundKind::CharDevice(device) => NodeKind::CharDevice(*device),
            FoundKind::BlockDevice(device) => NodeKind::BlockDevice(*device),
            FoundKind::Fifo => NodeKind::Fifo,
        };
        Entry {
            path: &self.path,
            kind,
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            mtime: self.mtime,
            xattrs: self.xattrs.as_xattrs(),
        }
    }

    /// Takes what was read. If that was another file than the walk met, because something on the
    /// way to it was exchanged meanwhile, the next scan does not rely on it.
    pub(super) fn fill(&mut self, content: HashedFile) {
        if !identity(&content.stat, Timestamp::EPOCH).is_of_same_file(&self.identity) {
            self.identity.read_at = i64::MIN;
        }
        self.xattrs = content.xattrs;
        if let FoundKind::File { size, hash } = &mut self.kind {
            (*size, *hash) = (content.size, content.hash);
        }
    }

    /// Returns its position in the previous index if that says all there is to know.
    pub(super) fn unchanged(&self, previous: &StatIndex) -> Option<usize> {
        let position = previous.tree().position(&self.path).ok()?;
        let is_same = if self.must_be_read {
            // The first of several names; a single one was looked up during the walk.
            self.has_several_names
                && is_settled(previous, position, self.mtime, &self.identity)
                && self.is_described_by(&previous.tree().at(position))
        } else {
            previous.tree().at(position) == self.entry()
        };
        is_same.then_some(position)
    }

    /// Compares everything but the content.
    fn is_described_by(&self, entry: &Entry<'_>) -> bool {
        let (FoundKind::File { size, .. }, NodeKind::File { size: known, .. }) =
            (&self.kind, entry.kind)
        else {
            return false;
        };
        *size == known && self.mode == entry.mode && (self.uid, self.gid) == (entry.uid, entry.gid)
    }
}

/// Says whether an entry of the previous index is what `stat` says now, content and attributes
/// included. A further name of a file is not for it to tell: which of them comes first may change.
pub(super) fn is_known(
    previous: &StatIndex,
    position: usize,
    stat: &Stat,
    owner: (u32, u32),
    now: Timestamp,
) -> bool {
    let entry = previous.tree().at(position);
    let same_kind = match (entry.kind, FileType::from_raw_mode(stat.st_mode)) {
        (NodeKind::File { size, .. }, FileType::RegularFile) => {
            stat.st_nlink == 1 && u64::try_from(stat.st_size) == Ok(size)
        }
        (NodeKind::Directory { .. }, FileType::Directory) => true,
        (NodeKind::Symlink { .. }, FileType::Symlink) => true,
        _ => false,
    };
    same_kind
        && u32::from(entry.mode) == stat.st_mode & 0o7777
        && (entry.uid, entry.gid) == owner
        && is_settled(previous, position, mtime(stat), &identity(stat, now))
}

/// Compares identity and times, and distrusts what was young when it was read.
fn is_settled(
    previous: &StatIndex,
    position: usize,
    mtime: Timestamp,
    identity: &FileIdentity,
) -> bool {
    let before = previous.identity(position);
    let entry = previous.tree().at(position);
    before.is_of_same_file(identity) && entry.mtime == mtime && before.is_settled(mtime)
}

fn mtime(stat: &Stat) -> Timestamp {
    Timestamp {
        seconds: stat.st_mtime,
        nanoseconds: nanoseconds(stat.st_mtime_nsec),
    }
}

fn identity(stat: &Stat, now: Timestamp) -> FileIdentity {
    FileIdentity {
        device: stat.st_dev,
        inode: stat.st_ino,
        ctime: Timestamp {
            seconds: stat.st_ctime,
            nanoseconds: nanoseconds(stat.st_ctime_nsec),
        },
        read_at: now.seconds,
    }
}

fn device(stat: &Stat) -> Device {
    Device {
        major: rustix::fs::major(stat.st_rdev),
        minor: rustix::fs::minor(stat.st_rdev),
    }
}

fn nanoseconds(value: impl TryInto<u32>) -> u32 {
    value.try_into().unwrap_or(0)
}
