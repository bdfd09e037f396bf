//! Images whose manifests and configs are blobs of the store.

use kiln_oci::{Image, InvalidImage, LARGEST_CONFIG, LARGEST_MANIFEST, Sha256, parse_manifest};

use crate::{BlobError, Blobs};

/// Why an image cannot be read from the store.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A part is not in the store.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A part is larger than any that was made on purpose.
    #[error("{what} {digest} has {size_bytes} bytes, which are too many")]
    TooLarge {
        /// `manifest` or `config`.
        what: &'static str,
        /// Its digest.
        digest: Sha256,
        /// Its length.
        size_bytes: u64,
    },
    /// A part is not what it should be.
    #[error(transparent)]
    Invalid(#[from] InvalidImage),
}

/// Reads the image with this manifest from the store.
///
/// # Errors
/// When the manifest or config is missing or is not an image's.
pub fn read_image(blobs: &Blobs, manifest: Sha256) -> Result<Image, ImageError> {
    let bytes = read_part(blobs, "manifest", manifest, LARGEST_MANIFEST)?;
    let parsed = parse_manifest(manifest, &bytes)?;
    let config = read_part(blobs, "config", parsed.config.digest, LARGEST_CONFIG)?;
    Ok(Image::parse(manifest, &bytes, parsed, &config)?)
}

/// Reads a part of an image, unless it is too large to be one.
fn read_part(
    blobs: &Blobs,
    what: &'static str,
    digest: Sha256,
    most: u64,
) -> Result<Vec<u8>, ImageError> {
    match blobs.size(digest) {
        Some(size_bytes) if size_bytes > most => Err(ImageError::TooLarge {
            what,
            digest,
            size_bytes,
        }),
        _ => Ok(blobs.read(digest)?),
    }
}
