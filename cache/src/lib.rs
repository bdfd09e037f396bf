//! Everything addressed by a digest, and the rules for sharing and collecting it.
//!
//! Everything here is safe to share between kiln processes. This crate knows nothing about
//! Dockerfiles, mounts or networks.

mod digest; // what things are called
mod encode; // how a value enters a key
mod guest_path; // paths inside a root
mod media; // descriptors and media types
mod name; // names of images
mod platform; // what an image runs on
mod timestamp; // points in time

mod blobs; // bytes by SHA-256
mod store; // the state directory
mod tree; // indexes of files

pub use blobs::{BlobError, BlobWriter, Blobs};
pub use digest::{
    ActionKey, Blake3, ChainId, DiffId, ImageId, InvalidDigest, LayerId, Sha256, Sha256Reader,
    Sha256Writer,
};
pub use encode::{Encode, Encoder};
pub use guest_path::{GuestPath, compare_paths};
pub use media::{Compression, Descriptor, MediaKind, media_type};
pub use name::{DEFAULT_DOMAIN, DEFAULT_TAG, ImageRef, InvalidImageRef};
pub use platform::{InvalidPlatform, Platform};
pub use store::{OpenError, Store, WorkDir, remove_tree};
pub use timestamp::{InvalidTimestamp, Timestamp};
pub use tree::{Device, Entry, InvalidTree, Kind, Tree, TreeBuilder, Xattrs, XattrsBuf};
