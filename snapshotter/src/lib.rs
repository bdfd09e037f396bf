//! Root file systems as stacks of layers.
//!
//! A layer is one thing in several forms: described (digests alone, its bytes still in a
//! registry), blob (compressed), unpacked (a directory that overlayfs can stack) and indexed (a
//! [`kiln_cache::Tree`]). The index decides what is in a layer; the other forms are made when
//! somebody asks for them, and remembered. This crate knows nothing about Dockerfiles, processes
//! or registries.

mod disk; // how layers look on disk
pub mod overlay; // stacks of directories mounted as one
mod sys; // raw system calls
