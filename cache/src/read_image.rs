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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;

    #[test]
    fn an_image_is_read_with_its_config() {
        let directory = tempfile::tempdir().unwrap();
        let blobs = Blobs::new(&Store::open(directory.path()).unwrap());
        let config =
            r#"{"os":"linux","architecture":"s390x","rootfs":{"type":"layers","diff_ids":[]}}"#;
        let image = |config: Sha256, size: usize| {
            let manifest = format!(
                r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":{size}}},"layers":[]}}"#
            );
            blobs.put(manifest.as_bytes()).unwrap()
        };
        let manifest = image(blobs.put(config.as_bytes()).unwrap(), config.len());
        let read = read_image(&blobs, manifest).unwrap();
        assert_eq!(read.config.architecture, "s390x");

        let missing = Sha256::of(b"nowhere");
        assert!(matches!(
            read_image(&blobs, missing),
            Err(ImageError::Blob(_))
        ));
        assert!(matches!(
            read_image(&blobs, image(missing, 1)),
            Err(ImageError::Blob(_))
        ));
        let huge = usize::try_from(LARGEST_CONFIG + 1).unwrap();
        let huge = blobs.put(&vec![b' '; huge]).unwrap();
        assert!(matches!(
            read_image(&blobs, image(huge, 1)),
            Err(ImageError::TooLarge { what: "config", digest, .. }) if digest == huge
        ));
    }
}
