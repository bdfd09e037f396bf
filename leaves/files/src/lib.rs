//! Files of the host: opened without following links out of a directory, read with their holes,
//! removed in spite of their modes, and kept in directories that belong to a running process.
//!
//! This crate knows no format and no state directory.

mod bytes; // files read whole, in memory or mapped
mod damage; // what errors say about a file
mod foreign_file; // files in directories that kiln did not make
mod growing_bytes; // bytes that become many
mod guest_path; // paths inside a root
mod holes; // sparse files, read piece by piece
mod process_directory; // directories locked by a running process
mod remove_tree; // deleting trees in spite of their modes
mod scoped; // opening a path without leaving a directory

pub use bytes::FileBytes;
pub use damage::{is_about_the_file, is_taken, is_there, unless_gone};
pub use foreign_file::{open_foreign, read_foreign};
pub use growing_bytes::{GrowingBytes, spill_into};
pub use guest_path::{GuestPath, compare_paths, is_clean};
pub use holes::{Piece, Pieces, hole_at, may_have_holes};
pub use process_directory::{Abandoned, CleanupLock, ProcessDirectory, abandoned};
pub use remove_tree::remove_tree;
pub use scoped::{Links, open_scoped};
