//! Manifests and indexes as registries serve them.
//!
//! Read leniently where it is harmless (null for absent, unknown entries of an index are skipped)
//! and strictly where two readers might disagree about what an image is (CVE-2021-41190).

use std::collections::BTreeMap;

use kiln_oci::{
    Descriptor, LARGEST_CONFIG, LARGEST_MANIFEST, MediaKind, Platform, Sha256, media_type,
};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::foreign::one_line;

/// Platforms of an index which are worth showing.
const SHOWN: usize = 32;

/// Why a manifest cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// It is not JSON of the right shape.
    #[error("manifest {digest} is not valid: {reason}")]
    Syntax {
        /// Its digest.
        digest: Sha256,
        /// The parser's words.
        reason: String,
    },
    /// It could be taken for an index as well as for an image.
    #[error("manifest {0} is ambiguous: it has the members of an index and of an image manifest")]
    Ambiguous(Sha256),
    /// It says to be something else than the server says.
    #[error("manifest {digest} says to be {inside}, but was served as {outside}")]
    MediaType {
        /// Its digest.
        digest: Sha256,
        /// Its `mediaType`.
        inside: String,
        /// The `Content-Type` or the descriptor's type.
        outside: String,
    },
    /// It is in Docker's first format, which names no content by digest of its bytes.
    #[error(
        "{0} is a manifest of schema 1, which is no longer supported; push the image again with a current client"
    )]
    Schema1(String),
    /// It is neither an index nor an image manifest.
    #[error("manifest {digest} has the type {media_type}, which is not an image")]
    NotAnImage {
        /// Its digest.
        digest: Sha256,
        /// Its type.
        media_type: String,
    },
    /// It is larger than manifests may be.
    #[error("manifest of {name} is larger than {LARGEST_MANIFEST} bytes")]
    TooLarge {
        /// What was asked for.
        name: String,
    },
    /// Its config is larger than any that was made on purpose.
    #[error("config of {name} has {size_bytes} bytes, more than {LARGEST_CONFIG}")]
    LargeConfig {
        /// What was asked for.
        name: String,
        /// What the manifest says of it.
        size_bytes: u64,
    },
    /// The index has nothing for the platform.
    #[error(
        "no matching manifest for {wanted} in the manifest list entries of {digest} (available: {})",
        list(available)
    )]
    NoPlatform {
        /// The index.
        digest: Sha256,
        /// What was asked for.
        wanted: Platform,
        /// What there is.
        available: Box<[Platform]>,
    },
    /// Indexes within indexes within indexes, or very many of them.
    #[error("index {0} nests too deep")]
    TooDeep(Sha256),
}

fn list(platforms: &[Platform]) -> String {
    match platforms {
        [] => "none".to_owned(),
        some => {
            let names = some.iter().take(SHOWN);
            let mut names: Vec<String> = names.map(|name| one_line(&name.to_string())).collect();
            if some.len() > SHOWN {
                names.push(format!("and {} more", some.len() - SHOWN));
            }
            names.join(", ")
        }
    }
}

/// A parsed manifest. Its exact bytes are kept elsewhere: they are what the digest is of.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, and it is taken apart at once"
)]
pub enum Manifest {
    /// A choice of manifests.
    Index(Index),
    /// One image.
    Image(ImageManifest),
}

/// A choice of manifests (OCI image index, Docker manifest list).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// Its media type.
    pub media_type: String,
    /// The entries that kiln understands, in their order, platforms in normal form.
    pub manifests: Vec<Descriptor>,
}

/// One image (OCI image manifest, Docker manifest schema 2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageManifest {
    /// Its media type.
    pub media_type: String,
    /// The image config.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
}

impl Manifest {
    /// Parses the bytes of a manifest. `served_as` is the type that its server or descriptor states.
    ///
    /// # Errors
    /// When it is not an image manifest or index, or not clearly one of them.
    pub fn parse(bytes: &[u8], served_as: Option<&str>) -> Result<Self, ManifestError> {
        let digest = Sha256::of(bytes);
        let raw: Raw = serde_json::from_slice(bytes).map_err(|error| ManifestError::Syntax {
            digest,
            reason: one_line(&error.to_string()),
        })?;
        let essence = |text: &str| text.split(';').next().unwrap_or("").trim().to_owned();
        let served_as = served_as.map(essence).filter(|text| is_manifest_type(text));
        let inside = raw.media_type.filter(|text| !text.is_empty());
        if raw.schema_version == Some(1)
            || raw.fs_layers.is_some()
            || [&served_as, &inside]
                .into_iter()
                .flatten()
                .any(|text| is_schema1(text))
        {
            return Err(ManifestError::Schema1(digest.to_string()));
        }
        if let (Some(inside), Some(outside)) = (&inside, &served_as)
            && inside != outside
        {
            return Err(ManifestError::MediaType {
                digest,
                inside: one_line(inside),
                outside: one_line(outside),
            });
        }
        if raw.manifests.is_some() && (raw.config.is_some() || raw.layers.is_some()) {
            return Err(ManifestError::Ambiguous(digest));
        }
        let stated = inside.or(served_as);
        let kind = match &stated {
            Some(text) => MediaKind::of(text),
            None if raw.manifests.is_some() => MediaKind::Index,
            None if raw.config.is_some() && raw.layers.is_some() => MediaKind::Manifest,
            None => MediaKind::Other,
        };
        let incomplete = |reason: &str| ManifestError::Syntax {
            digest,
            reason: reason.to_owned(),
        };
        match kind {
            MediaKind::Index => {
                let entries = raw
                    .manifests
                    .ok_or_else(|| incomplete("`manifests` is missing"))?;
                Ok(Self::Index(Index {
                    media_type: stated.unwrap_or_else(|| media_type::OCI_INDEX.to_owned()),
                    manifests: entries
                        .into_iter()
                        .filter_map(RawDescriptor::known)
                        .collect(),
                }))
            }
            MediaKind::Manifest => {
                let strict = |raw: RawDescriptor| {
                    let text = one_line(&raw.digest);
                    raw.known()
                        .ok_or_else(|| incomplete(&format!("digest {text:?} is not supported")))
                };
                let config = raw
                    .config
                    .ok_or_else(|| incomplete("`config` is missing"))?;
                let layers = raw.layers.unwrap_or_default();
                Ok(Self::Image(ImageManifest {
                    media_type: stated.unwrap_or_else(|| media_type::OCI_MANIFEST.to_owned()),
                    config: strict(config)?,
                    layers: layers.into_iter().map(strict).collect::<Result<_, _>>()?,
                }))
            }
            _ => Err(ManifestError::NotAnImage {
                digest,
                media_type: stated
                    .map_or_else(|| "an unknown type".to_owned(), |stated| one_line(&stated)),
            }),
        }
    }

    /// Returns the media type.
    #[must_use]
    pub fn media_type(&self) -> &str {
        match self {
            Self::Index(index) => &index.media_type,
            Self::Image(image) => &image.media_type,
        }
    }
}

impl Index {
    /// Returns the entries that may serve `wanted`, best first.
    ///
    /// Attestations and entries for `unknown/unknown` never do. An entry without a platform is a last
    /// resort. An index within the index stands at the place of its own platform, or last.
    #[must_use]
    pub fn candidates(&self, wanted: &Platform) -> Vec<&Descriptor> {
        let mut candidates: Vec<(u32, &Descriptor)> = self
            .images()
            .filter_map(|entry| match &entry.platform {
                Some(offered) => Some((wanted.distance(offered)?, entry)),
                None => Some((u32::MAX, entry)),
            })
            .collect();
        candidates.sort_by_key(|(distance, _)| *distance);
        candidates.into_iter().map(|(_, entry)| entry).collect()
    }

    /// Returns the platforms on offer.
    pub fn platforms(&self) -> impl Iterator<Item = &Platform> {
        self.images().filter_map(|entry| entry.platform.as_ref())
    }

    /// The entries that are neither attestations nor of unknown types.
    fn images(&self) -> impl Iterator<Item = &Descriptor> {
        self.manifests.iter().filter(|entry| {
            let kind = MediaKind::of(&entry.media_type);
            let unknown = entry.platform.as_ref().is_some_and(|platform| {
                platform.os == "unknown" || platform.architecture == "unknown"
            });
            matches!(kind, MediaKind::Manifest | MediaKind::Index)
                && !unknown
                && !entry.annotations.contains_key("vnd.docker.reference.type")
        })
    }
}

/// Says whether a `Content-Type` tells anything about a manifest; `text/plain` does not.
fn is_manifest_type(text: &str) -> bool {
    matches!(MediaKind::of(text), MediaKind::Index | MediaKind::Manifest) || is_schema1(text)
}

/// Says whether a media type is of Docker's first format.
pub(crate) fn is_schema1(text: &str) -> bool {
    matches!(
        text.split(';').next().unwrap_or("").trim(),
        "application/vnd.docker.distribution.manifest.v1+json"
            | "application/vnd.docker.distribution.manifest.v1+prettyjws"
    )
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: Option<u32>,
    media_type: Option<String>,
    manifests: Option<Vec<RawDescriptor>>,
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
    fs_layers: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    media_type: Option<String>,
    digest: String,
    size: u64,
    urls: Option<Vec<String>>,
    annotations: Option<BTreeMap<String, String>>,
    platform: Option<RawPlatform>,
    artifact_type: Option<String>,
}

#[derive(Deserialize)]
struct RawPlatform {
    os: Option<String>,
    architecture: Option<String>,
    variant: Option<String>,
}

impl RawDescriptor {
    /// Returns the descriptor, or none if its digest is of an algorithm that cannot be verified.
    fn known(self) -> Option<Descriptor> {
        Some(Descriptor {
            media_type: self.media_type.unwrap_or_default(),
            digest: self.digest.parse().ok()?,
            size_bytes: self.size,
            urls: self.urls.unwrap_or_default(),
            annotations: self.annotations.unwrap_or_default(),
            platform: self.platform.and_then(RawPlatform::stated),
            artifact_type: self.artifact_type,
        })
    }
}

impl RawPlatform {
    /// Returns the platform, or none if nothing of it is said.
    fn stated(self) -> Option<Platform> {
        let os = self.os.unwrap_or_default();
        let architecture = self.architecture.unwrap_or_default();
        let variant = self.variant.unwrap_or_default();
        let is_stated = !os.is_empty() || !architecture.is_empty();
        is_stated.then(|| Platform::new(&os, &architecture, &variant))
    }
}

#[cfg(test)]
mod tests;
