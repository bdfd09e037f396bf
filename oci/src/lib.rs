//! Parts of images: digests, names, platforms, descriptors, manifests, indexes and configs.
//!
//! Formats as values, and the texts and JSON they are read from and written to (OCI image-spec
//! v1.1, with Docker's additions). This crate opens no file and no connection.

mod digest; // SHA-256, and the identities made of it
mod sha256_stream; // SHA-256 of bytes that are read or written

mod name; // names of images
mod platform; // operating system, architecture, variant
mod tagged; // names that have a tag or digest
mod timestamp; // points in time

mod foreign_text; // text of others, shortened to one harmless line
mod nullable; // null in JSON, read as absent

mod media; // descriptors, media types, compressions

mod config; // an image's config
mod index; // an index: manifests for several platforms
mod manifest; // an image's manifest

mod document; // bytes told to be a manifest or an index
mod image; // a manifest and its config
mod select; // the manifest of an index that serves a platform

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
