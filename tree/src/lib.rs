//! From a directory to an index of its files, and the identity that follows from it.
//!
//! A [`Tree`] is the sorted list of what a layer or a build context holds, in bytes that are hashed
//! as they are. [`scan`] makes one of a directory on the host, and reads only what changed since the
//! [`StatIndex`] of the scan before. This crate knows no state directory: it is given files.

mod blake3; // kiln's own digest
mod encode; // how a value enters a key

mod tree; // indexes of files

mod scan; // from a directory to a tree
mod stat_index; // what a directory looked like last time

pub use blake3::{Blake3, LayerId};
pub use encode::{Encode, Encoder};
pub use scan::{Everything, Filter, Owners, Scan, ScanError, Visit, scan};
pub use stat_index::StatIndex;
pub use tree::{Device, Entry, InvalidTree, NodeKind, Tree, TreeBuilder, Xattrs, XattrsBuf};
