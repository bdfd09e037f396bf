//! Images: a manifest and its config.

use crate::{
    Descriptor, DiffId, Document, ImageConfig, ImageId, InvalidDocument, Manifest, MediaKind,
    Sha256, media_type,
};

/// An image whose manifest and config are known. Its layers may be anywhere.
#[derive(Clone, Debug)]
pub struct Image {
    /// The manifest's descriptor; with a platform and annotations if an index has them.
    pub descriptor: Descriptor,
    /// The manifest.
    pub manifest: Manifest,
    /// The config.
    pub config: ImageConfig,
}

/// Why bytes are not those of an image that kiln can use.
#[derive(Debug, thiserror::Error)]
pub enum InvalidImage {
    /// The manifest is none.
    #[error(transparent)]
    Manifest(#[from] InvalidDocument),
    /// The config is not the JSON that it should be.
    #[error("config {digest} is not valid")]
    Config {
        /// Its digest.
        digest: Sha256,
        /// What the JSON parser says.
        source: serde_json::Error,
    },
    /// It is not the manifest of an image, but an index or an artifact.
    #[error("{digest} is no image manifest but {found}")]
    NotAnImage {
        /// Its digest.
        digest: Sha256,
        /// What it is instead.
        found: String,
    },
    /// Config and manifest disagree on the number of layers.
    #[error("manifest {digest} has {layers} layers but its config lists {diff_ids} diff ids")]
    LayerCount {
        /// The manifest's digest.
        digest: Sha256,
        /// Number of layers in the manifest.
        layers: usize,
        /// Number of diff ids in the config.
        diff_ids: usize,
    },
}

impl Image {
    /// Puts together an image of the bytes of its manifest and config. `manifest` is the digest of
    /// the former.
    ///
    /// # Errors
    /// When either is not an image's, or they do not belong together.
    pub fn parse(
        manifest: Sha256,
        manifest_bytes: &[u8],
        parsed: Manifest,
        config_bytes: &[u8],
    ) -> Result<Self, InvalidImage> {
        let config: ImageConfig =
            serde_json::from_slice(config_bytes).map_err(|source| InvalidImage::Config {
                digest: parsed.config.digest,
                source,
            })?;
        if parsed.layers.len() != config.rootfs.diff_ids.len() {
            return Err(InvalidImage::LayerCount {
                digest: manifest,
                layers: parsed.layers.len(),
                diff_ids: config.rootfs.diff_ids.len(),
            });
        }
        let media_type = parsed
            .media_type
            .clone()
            .unwrap_or_else(|| media_type::OCI_MANIFEST.to_owned());
        Ok(Self {
            descriptor: Descriptor::new(&media_type, manifest, manifest_bytes.len() as u64),
            manifest: parsed,
            config,
        })
    }

    /// Returns the image's id.
    #[must_use]
    pub fn id(&self) -> ImageId {
        ImageId(self.manifest.config.digest)
    }

    /// Returns each layer's diff id and descriptor, base first.
    pub fn layers(&self) -> impl ExactSizeIterator<Item = (DiffId, &Descriptor)> {
        self.config
            .rootfs
            .diff_ids
            .iter()
            .copied()
            .zip(&self.manifest.layers)
    }
}

/// Parses the manifest of an image.
///
/// # Errors
/// When the bytes are something else.
pub fn parse_manifest(digest: Sha256, bytes: &[u8]) -> Result<Manifest, InvalidImage> {
    let not_an_image = |found: String| InvalidImage::NotAnImage { digest, found };
    let manifest = match Document::parse(bytes, None)? {
        Document::Manifest(manifest) => manifest,
        Document::Index(_) => return Err(not_an_image("an index".to_owned())),
    };
    match MediaKind::of(&manifest.config.media_type) {
        MediaKind::Config => Ok(manifest),
        _ => Err(not_an_image(format!(
            "an artifact with config type {}",
            manifest.config.media_type
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_are_told_from_everything_else() {
        let digest = Sha256::of(b"");
        let config = format!(
            r#""config":{{"mediaType":"{}","digest":"{digest}","size":2}}"#,
            media_type::OCI_CONFIG
        );
        let parse = |text: String| parse_manifest(digest, text.as_bytes());
        assert!(parse(format!(r#"{{"schemaVersion":2,{config},"layers":null}}"#)).is_ok());
        for (text, problem) in [
            (
                format!(r#"{{"schemaVersion":2,{config},"layers":[],"manifests":[]}}"#),
                "ambiguous",
            ),
            (
                r#"{"schemaVersion":2,"manifests":[]}"#.to_owned(),
                "an index",
            ),
            (
                r#"{"schemaVersion":1,"fsLayers":[]}"#.to_owned(),
                "schema 1",
            ),
            (
                format!(r#"{{"schemaVersion":2,{config}}}"#)
                    .replace(media_type::OCI_CONFIG, "application/x"),
                "an artifact with config type application/x",
            ),
            ("[]".to_owned(), "not valid"),
        ] {
            let message = parse(text).unwrap_err().to_string();
            assert!(message.contains(problem), "{message}");
        }
    }
}
