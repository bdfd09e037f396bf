//! One entry of an index, as it is used and as it is stored.

use crate::Blake3;
use kiln_files::GuestPath;
use kiln_oci::Timestamp;

/// One file, directory, link or other node.
///
/// Borrowed: from a [`Tree`](crate::Tree) when read, from anywhere when given to a
/// [`TreeBuilder`](crate::TreeBuilder).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Clean path relative to the root, as the bytes of a [`GuestPath`].
    pub path: &'a [u8],
    /// What it is.
    pub kind: NodeKind<'a>,
    /// Permission bits with set-user-id, set-group-id and sticky: `mode & 0o7777`.
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

/// The kinds of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind<'a> {
    /// A regular file; the first of its names, if it has several in this tree.
    File {
        /// Length in bytes.
        size: u64,
        /// BLAKE3 of the content.
        hash: Blake3,
    },
    /// A further name of a regular file of the same tree.
    HardLink {
        /// Clean path of the name that comes first in the order of a walk.
        target: &'a [u8],
    },
    /// A directory.
    Directory {
        /// In a layer: hides everything that the layers below have in this directory.
        opaque: bool,
        /// In a layer: is only there for what is in it, and has the metadata that a layer below gives
        /// it; that of its entry if none does.
        implied: bool,
    },
    /// A symbolic link.
    Symlink {
        /// Its text.
        target: &'a [u8],
    },
    /// A character device.
    CharDevice(Device),
    /// A block device.
    BlockDevice(Device),
    /// A named pipe.
    Fifo,
    /// In a layer: hides what the layers below have at this path.
    Whiteout,
}

impl NodeKind<'_> {
    /// A directory like any other.
    pub const DIRECTORY: Self = Self::Directory {
        opaque: false,
        implied: false,
    };
}

/// A device number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Which driver.
    pub major: u32,
    /// Which device of the driver.
    pub minor: u32,
}

/// Extended attributes: names and values, sorted by name, in encoded form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Xattrs<'a>(&'a [u8]);

impl<'a> Xattrs<'a> {
    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// Returns name and value of each.
    pub fn iter(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let mut rest = FieldReader(self.0);
        std::iter::from_fn(move || {
            if rest.0.is_empty() {
                return None;
            }
            let name = rest.short_bytes()?;
            let value = rest.long_bytes()?;
            Some((name, value))
        })
    }
}

/// Extended attributes being collected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct XattrsBuf(Vec<u8>);

impl XattrsBuf {
    /// Encodes `pairs` of name and value; sorts them.
    #[must_use]
    pub fn new(mut pairs: Vec<(Vec<u8>, Vec<u8>)>) -> Self {
        pairs.sort_unstable();
        pairs.dedup_by(|later, earlier| later.0 == earlier.0);
        let mut bytes = Vec::new();
        for (name, value) in pairs {
            put_short(&mut bytes, &name);
            put_long(&mut bytes, &value);
        }
        Self(bytes)
    }

    /// Borrows them.
    #[must_use]
    pub fn as_xattrs(&self) -> Xattrs<'_> {
        Xattrs(&self.0)
    }
}

impl Entry<'_> {
    /// Returns the path as an owned value.
    #[must_use]
    pub fn guest_path(&self) -> GuestPath {
        GuestPath::from_clean(self.path).expect("trees hold clean paths only")
    }

    /// Says whether this is a directory.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        matches!(self.kind, NodeKind::Directory { .. })
    }

    /// Appends the entry as it is stored.
    ///
    /// # Panics
    /// When the path or a link target has 64 KiB or more, which no system call takes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_short(out, self.path);
        let tag = match self.kind {
            NodeKind::File { .. } => 0,
            NodeKind::HardLink { .. } => 1,
            NodeKind::Directory { opaque, implied } => match (implied, opaque) {
                (false, false) => 2,
                (false, true) => 3,
                (true, false) => IMPLIED,
                (true, true) => IMPLIED_OPAQUE,
            },
            NodeKind::Symlink { .. } => 4,
            NodeKind::CharDevice(_) => 5,
            NodeKind::BlockDevice(_) => 6,
            NodeKind::Fifo => 7,
            NodeKind::Whiteout => 8,
        };
        out.push(tag);
        out.extend_from_slice(&self.mode.to_le_bytes());
        out.extend_from_slice(&self.uid.to_le_bytes());
        out.extend_from_slice(&self.gid.to_le_bytes());
        out.extend_from_slice(&self.mtime.seconds.to_le_bytes());
        out.extend_from_slice(&self.mtime.nanoseconds.to_le_bytes());
        match self.kind {
            NodeKind::File { size, hash } => {
                out.extend_from_slice(&size.to_le_bytes());
                out.extend_from_slice(hash.as_bytes());
            }
            NodeKind::HardLink { target } | NodeKind::Symlink { target } => put_short(out, target),
            NodeKind::CharDevice(device) | NodeKind::BlockDevice(device) => {
                out.extend_from_slice(&device.major.to_le_bytes());
                out.extend_from_slice(&device.minor.to_le_bytes());
            }
            NodeKind::Directory { .. } | NodeKind::Fifo | NodeKind::Whiteout => {}
        }
        put_long(out, self.xattrs.0);
    }
}

impl<'a> Entry<'a> {
    /// Takes an entry from the start of some bytes, and returns those behind it, too; none if there
    /// is no entry.
    #[must_use]
    pub fn decode(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let mut reader = FieldReader(bytes);
        let path = reader.short_bytes()?;
        let tag = reader.tag()?;
        let mode = reader.u16()?;
        let uid = reader.u32()?;
        let gid = reader.u32()?;
        let mtime = Timestamp {
            seconds: i64::from_le_bytes(reader.array()?),
            nanoseconds: reader.u32()?,
        };
        let kind = match tag {
            0 => NodeKind::File {
                size: u64::from_le_bytes(reader.array()?),
                hash: Blake3::from_bytes(reader.array()?),
            },
            1 => NodeKind::HardLink {
                target: reader.short_bytes()?,
            },
            2 | 3 | IMPLIED | IMPLIED_OPAQUE => NodeKind::Directory {
                opaque: matches!(tag, 3 | IMPLIED_OPAQUE),
                implied: is_implied(tag),
            },
            4 => NodeKind::Symlink {
                target: reader.short_bytes()?,
            },
            5 => NodeKind::CharDevice(reader.device()?),
            6 => NodeKind::BlockDevice(reader.device()?),
            7 => NodeKind::Fifo,
            8 => NodeKind::Whiteout,
            _ => return None,
        };
        let xattrs = Xattrs(reader.long_bytes()?);
        let entry = Self {
            path,
            kind,
            mode,
            uid,
            gid,
            mtime,
            xattrs,
        };
        Some((entry, reader.0))
    }
}

/// Returns how many bytes the entry takes that is at the start of some.
pub(super) fn encoded_length(bytes: &[u8]) -> usize {
    let (_, rest) = Entry::decode(bytes).expect("push wrote an entry");
    bytes.len() - rest.len()
}

/// Marks directories that are only there for what is in them.
const IMPLIED: u8 = 9;

/// Marks those of them that hide what is below.
const IMPLIED_OPAQUE: u8 = 10;

/// Says whether the entry at the start of some bytes is an implied directory.
pub(super) fn has_implied_tag(bytes: &[u8]) -> bool {
    let mut reader = FieldReader(bytes);
    let _path = reader.short_bytes();
    reader.tag().is_some_and(is_implied)
}

/// Says whether a tag is that of an implied directory.
fn is_implied(tag: u8) -> bool {
    matches!(tag, IMPLIED | IMPLIED_OPAQUE)
}

fn put_short(out: &mut Vec<u8>, bytes: &[u8]) {
    // Paths and link targets end at PATH_MAX (4096), attribute names at 255.
    let length = u16::try_from(bytes.len()).expect("names and paths are below 64 KiB");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(bytes);
}

fn put_long(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("attribute values are at most 64 KiB");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Reads fields one after the other.
pub(super) struct FieldReader<'a>(pub(super) &'a [u8]);

impl<'a> FieldReader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn device(&mut self) -> Option<Device> {
        Some(Device {
            major: self.u32()?,
            minor: self.u32()?,
        })
    }

    fn tag(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    pub(super) fn short_bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    fn long_bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        self.take(length as usize)
    }
}
