//! What images are made of: digests, names, platforms, descriptors, manifests, indexes and configs.
//!
//! Formats as values, and the texts and JSON they are read from and written to (OCI image-spec
//! v1.1, with Docker's additions). This crate opens no file and no connection.

mod digest; // SHA-256, and the identities made of it
mod sha256_stream; // digests of what flows by

mod name; // names of images
mod platform; // what an image runs on
mod tagged; // names that have a tag or digest
mod timestamp; // points in time

mod foreign_text; // words of strangers, fit for one line
mod nullable; // members that say nothing

mod media; // descriptors and media types

mod config; // what to run, and on which layers
mod index; // one image for several platforms
mod manifest; // one image's config and layers

mod document; // whether bytes are a manifest or an index
mod image; // a manifest and its config
mod select; // which manifest serves a platform

pub use config::{Empty, Healthcheck, History, ImageConfig, RootFs, RunConfig};
pub use digest::{ChainId, DiffId, ImageId, InvalidDigest, Sha256, hex, unhex};
pub use document::{Document, InvalidDocument, is_schema1};
pub use foreign_text::one_line;
pub use image::{Image, InvalidImage, parse_manifest};
pub use index::Index;
pub use manifest::{LARGEST_CONFIG, LARGEST_MANIFEST, Manifest};
pub use media::{Compression, Descriptor, MediaKind, media_type};
pub use name::{DEFAULT_DOMAIN, DEFAULT_TAG, ImageRef, InvalidImageRef};
pub use platform::{InvalidPlatform, Platform};
pub use select::{SelectError, select};
pub use sha256_stream::{Sha256Reader, Sha256State, Sha256Writer};
pub use tagged::TaggedRef;
pub use timestamp::{InvalidTimestamp, Timestamp};
