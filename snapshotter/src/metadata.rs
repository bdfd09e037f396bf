//! Metadata of a file: owner, mode, time, extended attributes.

use kiln_files::GuestPath;
use kiln_oci::Timestamp;
use kiln_tree::{Entry, NodeKind, Xattrs};

/// Metadata of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata<'a> {
    /// Permission bits with set-user-id, set-group-id and sticky.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of last modification.
    pub mtime: Timestamp,
    /// Extended attributes.
    pub xattrs: Xattrs<'a>,
}

impl<'a> Metadata<'a> {
    /// Returns the metadata of something that belongs to root and has no extended attributes.
    #[must_use]
    pub fn root_owned(mode: u16, mtime: Timestamp) -> Self {
        Self {
            mode,
            uid: 0,
            gid: 0,
            mtime,
            xattrs: Xattrs::default(),
        }
    }

    /// Returns the metadata of an entry.
    #[must_use]
    pub fn of(entry: &Entry<'a>) -> Self {
        Self {
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
            xattrs: entry.xattrs,
        }
    }

    /// Returns the entry of an index. Its time is in whole seconds, as in the layer's tar: so a
    /// layer that was unpacked from a tar is the very layer that the tar was made from.
    pub(crate) fn entry<'b>(&self, path: &'b GuestPath, kind: NodeKind<'b>) -> Entry<'b>
    where
        'a: 'b,
    {
        Entry {
            path: path.as_bytes(),
            kind,
            mode: self.mode & 0o7777,
            uid: self.uid,
            gid: self.gid,
            mtime: self.mtime.whole_seconds(),
            xattrs: self.xattrs,
        }
    }
}
