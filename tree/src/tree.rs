//! The index of a tree of files: what a layer or a build context holds, without the bytes.
//!
//! An index is a sorted list of entries (path, type, mode, owner, size, modification time, link
//! target, extended attributes, BLAKE3 of the content). Look-ups, copies, cache keys, tar streams
//! and explanations all read indexes; only what needs the bytes opens files. The index of a layer
//! decides what is in the layer: where the disk cannot say something (an owner that the user
//! namespace does not map, a device node), the index still does.
//!
//! # Form
//!
//! One byte string, in memory as on disk, so that reading an index of 20,000 files is one `read`
//! and no allocation per file. All numbers are little-endian.
//!
//! ```text
//! "kilntree1\0"   10 bytes
//! count           u32
//! offsets         count * u32, from the start of the entries
//! entries         in the order of a walk (compare_paths)
//! ```
//!
//! The digest of a tree ([`LayerId`](crate::LayerId) for a layer) is the BLAKE3 of the entries alone.

mod entry; // one entry, as it is used and as it is stored
mod index; // the bytes, and look-ups in them

mod builder; // from entries to an index

pub use builder::TreeBuilder;
pub use entry::{Device, Entry, NodeKind, Xattrs, XattrsBuf};
pub use index::{InvalidTree, Tree};
