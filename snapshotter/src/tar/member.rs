//! Members of foreign tar streams.

use kiln_oci::Timestamp;
use kiln_tree::Device;

/// A key and its value.
pub(crate) type Record = (Vec<u8>, Vec<u8>);

/// One member of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// As written: may be absolute, or contain `..`.
    pub(crate) path: Vec<u8>,
    pub(crate) kind: MemberKind,
    /// Bytes of content that follow.
    pub(crate) size: u64,
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Timestamp,
    pub(crate) xattrs: Vec<Record>,
}

/// The kind of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MemberKind {
    File,
    HardLink(Vec<u8>),
    Symlink(Vec<u8>),
    CharDevice(Device),
    BlockDevice(Device),
    Directory,
    Fifo,
    /// Says something about the archive, not a file.
    Comment,
}
