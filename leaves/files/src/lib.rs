//! Files of the host: opened without being led astray, read with their holes, removed whatever
//! their modes say, and kept in directories that end with their process.
//!
//! This crate knows no format and no state directory.

mod foreign_file; // files of directories that somebody else made
mod guest_path; // paths inside a root
mod holes; // files with less in them than they are long
mod process_directory; // directories of processes that live
mod remove_tree; // deleting whatever modes say
mod scoped; // opening what lies in a directory

pub use foreign_file::{open_foreign, read_foreign};
pub use guest_path::{GuestPath, compare_paths, is_clean};
pub use holes::{Piece, Pieces, hole_at, may_have_holes};
pub use process_directory::{Abandoned, ProcessDirectory, Turn, abandoned};
pub use remove_tree::remove_tree;
pub use scoped::{Links, open_scoped};
