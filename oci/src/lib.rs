//! What images are made of: digests, names, platforms, descriptors, manifests, indexes and configs.
//!
//! Formats as values, and the texts and JSON they are read from and written to (OCI image-spec
//! v1.1, with Docker's additions). This crate opens no file and no connection.

mod digest; // SHA-256, and the identities made of it
mod sha256_stream; // digests of what flows by

mod name; // names of images
mod platform; // what an image runs on
mod timestamp; // points in time

mod image; // manifests, indexes and configs
mod media; // descriptors and media types

pub use digest::{ChainId, DiffId, ImageId, InvalidDigest, Sha256, hex, unhex};
pub use image::{
    Empty, Healthcheck, History, Image, ImageConfig, Index, InvalidImage, LARGEST_CONFIG,
    LARGEST_MANIFEST, Manifest, RootFs, RunConfig, parse_manifest,
};
pub use media::{Compression, Descriptor, MediaKind, media_type};
pub use name::{DEFAULT_DOMAIN, DEFAULT_TAG, ImageRef, InvalidImageRef};
pub use platform::{InvalidPlatform, Platform};
pub use sha256_stream::{Sha256Reader, Sha256State, Sha256Writer};
pub use timestamp::{InvalidTimestamp, Timestamp};
