//! Manifests and indexes from anywhere: which of the two some bytes are.
//!
//! Read leniently where it is harmless (null for absent, entries of an index that cannot be verified
//! are skipped) and strictly where two readers might disagree about what an image is
//! (CVE-2021-41190).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::{Descriptor, Index, Manifest, MediaKind, Platform, Sha256, media_type, one_line};

/// A manifest or an index. Its exact bytes are kept elsewhere: they are what the digest is of.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, and it is taken apart at once"
)]
pub enum Document {
    /// A choice of manifests (OCI image index, Docker manifest list), as far as kiln understands it.
    Index(Index),
    /// One image or artifact (OCI image manifest, Docker manifest schema 2).
    Manifest(Manifest),
}

/// Why bytes are neither a manifest nor an index that kiln can use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDocument {
    /// They are not JSON of the right shape.
    #[error("manifest {digest} is not valid: {reason}")]
    Syntax {
        /// Their digest.
        digest: Sha256,
        /// The parser's words.
        reason: String,
    },
    /// They could be taken for an index as well as for an image.
    #[error("manifest {0} is ambiguous: it has the members of an index and of an image manifest")]
    Ambiguous(Sha256),
    /// They say to be something else than the server says.
    #[error("manifest {digest} says to be {inside}, but was served as {outside}")]
    MediaType {
        /// Their digest.
        digest: Sha256,
        /// Their `mediaType`.
        inside: String,
        /// The `Content-Type` or the descriptor's type.
        outside: String,
    },
    /// They are in Docker's first format, which names no content by digest of its bytes.
    #[error(
        "{0} is a manifest of schema 1, which is no longer supported; push the image again with a current client"
    )]
    Schema1(Sha256),
    /// They look like neither an index nor an image manifest, and do not say what they are.
    #[error("manifest {0} is not an image: it has no media type and neither layers nor manifests")]
    Untyped(Sha256),
    /// They say to be neither an index nor an image manifest.
    #[error("manifest {digest} has the type {media_type}, which is not an image")]
    NotAnImage {
        /// Their digest.
        digest: Sha256,
        /// Their type.
        media_type: String,
    },
}

impl Document {
    /// Parses the bytes of a manifest or index. `served_as` is the type that its server or
    /// descriptor states, parameters included.
    ///
    /// # Errors
    /// When it is neither, or not clearly one of them.
    pub fn parse(bytes: &[u8], served_as: Option<&str>) -> Result<Self, InvalidDocument> {
        let digest = Sha256::of(bytes);
        let raw: Raw = serde_json::from_slice(bytes).map_err(|error| InvalidDocument::Syntax {
            digest,
            reason: one_line(&error.to_string()),
        })?;
        let essence = |text: &str| text.split(';').next().unwrap_or("").trim().to_owned();
        let served_as = served_as.map(essence).filter(|text| is_manifest_type(text));
        let inside = raw.media_type.clone().filter(|text| !text.is_empty());
        if raw.schema_version == Some(1)
            || raw.fs_layers.is_some()
            || [&served_as, &inside]
                .into_iter()
                .flatten()
                .any(|text| is_schema1(text))
        {
            return Err(InvalidDocument::Schema1(digest));
        }
        if let (Some(inside), Some(outside)) = (&inside, &served_as)
            && inside != outside
        {
            return Err(InvalidDocument::MediaType {
                digest,
                inside: one_line(inside),
                outside: one_line(outside),
            });
        }
        if raw.manifests.is_some() && (raw.config.is_some() || raw.layers.is_some()) {
            return Err(InvalidDocument::Ambiguous(digest));
        }
        let stated = inside.or(served_as);
        let kind = match &stated {
            Some(text) => MediaKind::of(text),
            None if raw.manifests.is_some() => MediaKind::Index,
            None if raw.config.is_some() => MediaKind::Manifest,
            None => MediaKind::Other,
        };
        match kind {
            MediaKind::Index => raw.index(digest, stated).map(Self::Index),
            MediaKind::Manifest => raw.manifest(digest, stated).map(Self::Manifest),
            _ => Err(stated.map_or(InvalidDocument::Untyped(digest), |stated| {
                InvalidDocument::NotAnImage {
                    digest,
                    media_type: one_line(&stated),
                }
            })),
        }
    }

    /// Returns the media type.
    #[must_use]
    pub fn media_type(&self) -> &str {
        let (stated, fallback) = match self {
            Self::Index(index) => (&index.media_type, media_type::OCI_INDEX),
            Self::Manifest(manifest) => (&manifest.media_type, media_type::OCI_MANIFEST),
        };
        stated.as_deref().unwrap_or(fallback)
    }
}

/// Says whether a `Content-Type` tells anything about a manifest; `text/plain` does not.
fn is_manifest_type(text: &str) -> bool {
    matches!(MediaKind::of(text), MediaKind::Index | MediaKind::Manifest) || is_schema1(text)
}

/// Says whether a media type is of Docker's first format.
#[must_use]
pub fn is_schema1(text: &str) -> bool {
    matches!(
        text.split(';').next().unwrap_or("").trim(),
        "application/vnd.docker.distribution.manifest.v1+json"
            | "application/vnd.docker.distribution.manifest.v1+prettyjws"
    )
}

/// A manifest or index as JSON has it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: Option<u32>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    manifests: Option<Vec<RawDescriptor>>,
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
    annotations: Option<BTreeMap<String, Option<String>>>,
    fs_layers: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    media_type: Option<String>,
    digest: String,
    size: u64,
    urls: Option<Vec<String>>,
    annotations: Option<BTreeMap<String, Option<String>>>,
    platform: Option<Platform>,
    artifact_type: Option<String>,
}

impl Raw {
    fn index(self, digest: Sha256, stated: Option<String>) -> Result<Index, InvalidDocument> {
        let entries = self
            .manifests
            .ok_or_else(|| incomplete(digest, "`manifests` is missing"))?;
        Ok(Index {
            schema_version: self.schema_version.unwrap_or(2),
            media_type: stated,
            artifact_type: self.artifact_type,
            manifests: entries
                .into_iter()
                .filter_map(RawDescriptor::known)
                .collect(),
            annotations: filled(self.annotations),
        })
    }

    fn manifest(self, digest: Sha256, stated: Option<String>) -> Result<Manifest, InvalidDocument> {
        let strict = |raw: RawDescriptor| {
            let text = one_line(&raw.digest);
            raw.known()
                .ok_or_else(|| incomplete(digest, &format!("digest {text:?} is not supported")))
        };
        let config = self
            .config
            .ok_or_else(|| incomplete(digest, "`config` is missing"))?;
        let layers = self.layers.unwrap_or_default();
        Ok(Manifest {
            schema_version: self.schema_version.unwrap_or(2),
            media_type: stated,
            artifact_type: self.artifact_type,
            config: strict(config)?,
            layers: layers.into_iter().map(strict).collect::<Result<_, _>>()?,
            annotations: filled(self.annotations),
        })
    }
}

fn incomplete(digest: Sha256, reason: &str) -> InvalidDocument {
    InvalidDocument::Syntax {
        digest,
        reason: reason.to_owned(),
    }
}

fn filled(annotations: Option<BTreeMap<String, Option<String>>>) -> BTreeMap<String, String> {
    annotations
        .unwrap_or_default()
        .into_iter()
        .map(|(key, value)| (key, value.unwrap_or_default()))
        .collect()
}

impl RawDescriptor {
    /// Returns the descriptor, or none if its digest is of an algorithm that cannot be verified.
    fn known(self) -> Option<Descriptor> {
        // A platform of which nothing is said is none.
        let is_stated =
            |platform: &Platform| !platform.os.is_empty() || !platform.architecture.is_empty();
        Some(Descriptor {
            media_type: self.media_type.unwrap_or_default(),
            digest: self.digest.parse().ok()?,
            size_bytes: self.size,
            urls: self.urls.unwrap_or_default(),
            annotations: filled(self.annotations),
            platform: self.platform.filter(is_stated),
            artifact_type: self.artifact_type,
        })
    }
}

#[cfg(test)]
mod tests;
