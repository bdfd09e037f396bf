//! Media types and descriptors: how images point at their parts.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use oci_spec::image::MediaType;
use serde::{Deserialize, Serialize};

use crate::nullable::null_is_default;
use crate::{Platform, Sha256};

/// The media types of docs/spec/oci.md 1 that kiln writes or reads.
pub mod media_type {
    /// OCI image index.
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// OCI image manifest.
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// OCI image config.
    pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// OCI layer, uncompressed.
    pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    /// OCI layer, gzip.
    pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// OCI layer, zstd.
    pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// Docker manifest list.
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker manifest, schema 2.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker image config.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    /// Docker layer, uncompressed.
    pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
    /// Docker layer, gzip.
    pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    /// Docker layer, zstd (not standardised, seen in registries).
    pub const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";
}

/// Points at content by digest (OCI image-spec v1.1, descriptor.md).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the content is.
    #[serde(default, deserialize_with = "null_is_default")]
    pub media_type: String,
    /// Digest of the content's bytes.
    pub digest: Sha256,
    /// Length of the content in bytes.
    #[serde(rename = "size")]
    pub size_bytes: u64,
    /// URLs besides the registry that serve the content.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub urls: Vec<String>,
    /// Free key-value pairs.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
    /// In an index: what the manifest runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Type of an artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

impl Descriptor {
    /// Returns a plain descriptor.
    #[must_use]
    pub fn new(media_type: &str, digest: Sha256, size_bytes: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest,
            size_bytes,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            platform: None,
            artifact_type: None,
        }
    }

    /// Says whether it points at an image that can run, or an index of such: not at an attestation,
    /// for example.
    #[must_use]
    pub fn leads_to_image(&self) -> bool {
        let kind = MediaKind::of(&self.media_type);
        let is_unknown = self
            .platform
            .as_ref()
            .is_some_and(|platform| platform.os == "unknown" || platform.architecture == "unknown");
        matches!(kind, MediaKind::Manifest | MediaKind::Index)
            && !is_unknown
            && !self.annotations.contains_key("vnd.docker.reference.type")
    }

    /// Returns the descriptor of `bytes`.
    #[must_use]
    pub fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self::new(media_type, Sha256::of(bytes), bytes.len() as u64)
    }
}

/// The kind of object that a media type names, whichever family (OCI or Docker) it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// A list of manifests.
    Index,
    /// A manifest of one image.
    Manifest,
    /// An image config.
    Config,
    /// A layer, compressed or not.
    Layer(Compression),
    /// A layer that registries do not hold.
    ForeignLayer(Compression),
    /// Anything else.
    Other,
}

/// The compression of a layer's tar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// A bare tar.
    None,
    /// RFC 1952, possibly several members.
    Gzip,
    /// RFC 8878, possibly several frames.
    Zstd,
}

impl Compression {
    /// Every compression that layers of images have.
    pub const ALL: [Self; 3] = [Self::None, Self::Gzip, Self::Zstd];

    /// Returns the name that BuildKit's `compression=` has for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "uncompressed",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// Returns the compression of a name, as [`Compression::name`] gives it.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|each| each.name() == name)
    }

    /// Returns the levels that a user may ask for. A bare tar takes those of gzip, and none of them
    /// changes it.
    #[must_use]
    pub const fn levels(self) -> RangeInclusive<i32> {
        match self {
            Self::None | Self::Gzip => 0..=9,
            Self::Zstd => 0..=22,
        }
    }

    /// Returns the level of layers for which the user asks for none.
    ///
    /// gzip's is the least level at which libdeflate's blobs are no larger than those of zlib's 6,
    /// which is what gzip(1) and Go do unless asked: of a tar of 351 MB from Debian's /usr,
    /// libdeflate's 5 made 143.6 MB in 3.4 s, its 6 142.9 MB in 4.3 s, and zlib's 6 144.0 MB in 10 s
    /// (November 2026). zstd's is its own default.
    #[must_use]
    pub const fn default_level(self) -> i32 {
        match self {
            Self::None => 0,
            Self::Gzip => 5,
            Self::Zstd => 3,
        }
    }

    /// Says whether Docker's media types have one for layers packed this way.
    #[must_use]
    pub const fn is_known_to_docker(self) -> bool {
        match self {
            Self::None | Self::Gzip => true,
            Self::Zstd => false,
        }
    }

    /// Returns the OCI media type of a layer packed this way.
    #[must_use]
    pub const fn oci_layer(self) -> &'static str {
        match self {
            Self::None => media_type::OCI_LAYER,
            Self::Gzip => media_type::OCI_LAYER_GZIP,
            Self::Zstd => media_type::OCI_LAYER_ZSTD,
        }
    }

    /// Returns the media type of a layer packed this way in a manifest of Docker's. Docker itself has
    /// none for zstd ([`Compression::is_known_to_docker`]); layers that come with zstd get the type
    /// that registries hold such layers under.
    #[must_use]
    pub const fn docker_layer(self) -> &'static str {
        match self {
            Self::None => media_type::DOCKER_LAYER,
            Self::Gzip => media_type::DOCKER_LAYER_GZIP,
            Self::Zstd => media_type::DOCKER_LAYER_ZSTD,
        }
    }
}

impl MediaKind {
    /// Classifies a media type; parameters after `;` do not count.
    #[must_use]
    pub fn of(media_type: &str) -> Self {
        let essence = media_type.split(';').next().unwrap_or("").trim();
        match essence {
            media_type::DOCKER_LIST => return Self::Index,
            media_type::DOCKER_MANIFEST => return Self::Manifest,
            media_type::DOCKER_CONFIG => return Self::Config,
            _ => {}
        }
        match MediaType::from(essence) {
            MediaType::ImageIndex => return Self::Index,
            MediaType::ImageManifest => return Self::Manifest,
            MediaType::ImageConfig => return Self::Config,
            _ => {}
        }
        let (stem, compression) = match essence.rsplit_once(['+', '.']) {
            Some((stem, "gzip")) => (stem, Compression::Gzip),
            Some((stem, "zstd")) => (stem, Compression::Zstd),
            _ => (essence, Compression::None),
        };
        match stem {
            media_type::OCI_LAYER | media_type::DOCKER_LAYER => Self::Layer(compression),
            "application/vnd.oci.image.layer.nondistributable.v1.tar"
            | "application/vnd.docker.image.rootfs.foreign.diff.tar" => {
                Self::ForeignLayer(compression)
            }
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_are_classified_alike() {
        for (text, kind) in [
            (media_type::OCI_INDEX, MediaKind::Index),
            (media_type::DOCKER_LIST, MediaKind::Index),
            (media_type::OCI_MANIFEST, MediaKind::Manifest),
            (
                "application/vnd.oci.image.manifest.v1+json; charset=utf-8",
                MediaKind::Manifest,
            ),
            (media_type::OCI_LAYER, MediaKind::Layer(Compression::None)),
            (
                media_type::OCI_LAYER_GZIP,
                MediaKind::Layer(Compression::Gzip),
            ),
            (
                media_type::OCI_LAYER_ZSTD,
                MediaKind::Layer(Compression::Zstd),
            ),
            (
                media_type::DOCKER_LAYER_GZIP,
                MediaKind::Layer(Compression::Gzip),
            ),
            (
                "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
                MediaKind::ForeignLayer(Compression::Gzip),
            ),
            ("application/vnd.in-toto+json", MediaKind::Other),
        ] {
            assert_eq!(MediaKind::of(text), kind, "{text}");
        }
    }

    #[test]
    fn compressions_are_known_by_their_names_and_levels() {
        for compression in Compression::ALL {
            assert_eq!(Compression::named(compression.name()), Some(compression));
            assert!(compression.levels().contains(&compression.default_level()));
            let types = [compression.oci_layer(), compression.docker_layer()];
            assert_eq!(types.map(MediaKind::of), [MediaKind::Layer(compression); 2]);
        }
        assert_eq!(Compression::named("estargz"), None);
    }

    #[test]
    fn attestations_lead_to_no_image() {
        let with = |media_type: &str, platform: Option<(&str, &str)>| {
            let mut descriptor = Descriptor::new(media_type, Sha256::of(b""), 1);
            descriptor.platform =
                platform.map(|(os, architecture)| Platform::new(os, architecture, ""));
            descriptor
        };
        let (index, manifest) = (media_type::OCI_INDEX, media_type::OCI_MANIFEST);
        for (descriptor, expected) in [
            (with(manifest, None), true),
            (with(index, None), true),
            (with(manifest, Some(("linux", "amd64"))), true),
            (with(manifest, Some(("unknown", "unknown"))), false),
            (with(manifest, Some(("linux", "unknown"))), false),
            (with(manifest, Some(("unknown", "amd64"))), false),
            (with(media_type::OCI_LAYER, None), false),
        ] {
            assert_eq!(descriptor.leads_to_image(), expected, "{descriptor:?}");
        }
        let mut attestation = with(manifest, Some(("linux", "amd64")));
        attestation.annotations.insert(
            "vnd.docker.reference.type".to_owned(),
            "attestation-manifest".to_owned(),
        );
        assert!(!attestation.leads_to_image());
    }
}
