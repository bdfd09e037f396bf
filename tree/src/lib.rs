//! From a directory to an index of its files, and the identity that follows from it.
//!
//! A [`Tree`] is the sorted list of what a layer or a build context holds, in bytes that are hashed
//! as they are. [`scan`] makes one of a directory on the host, and reads only what changed since
//! the
//! [`StatIndex`] of the scan before. This crate knows no state directory: it is given files.

mod blake3; // kiln's own digest
mod encode; // values written into a key

mod tree; // the sorted index of files

mod scan; // a directory on the host, walked into a tree
mod stat_index; // metadata of the last scan, by which unchanged files are told

pub use blake3::{Blake3, LayerId};
pub use encode::{Encode, Encoder};
pub use scan::{Everything, Filter, Owners, Scan, ScanError, Visit, scan};
pub use stat_index::StatIndex;
pub use tree::{Device, Entry, InvalidTree, NodeKind, Tree, TreeBuilder, Xattrs, XattrsBuf};
