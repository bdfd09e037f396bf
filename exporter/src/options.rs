//! Options of an exported image, and which of them contradict each other.

use std::collections::BTreeMap;

use kiln_oci::{Compression, MediaKind, media_type};
use kiln_snapshotter::{Level, Packing};

/// Options of an image that is written for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageOptions {
    /// How new layers are packed, at one of [`Compression::levels`].
    pub packing: Packing,
    /// Whether layers that came from elsewhere are packed anew.
    pub existing_layers: ExistingLayers,
    /// Which family of media types is written; none for that of the image's own manifest, so that
    /// an image with nothing to be packed keeps its digest.
    pub media_types: Option<MediaFamily>,
    /// Annotations of the manifest.
    pub annotations: BTreeMap<String, String>,
    /// Annotations of the manifest's descriptor, in an index or layout.
    pub descriptor_annotations: BTreeMap<String, String>,
}

impl Default for ImageOptions {
    /// gzip, which every client reads, and everything else as it is.
    fn default() -> Self {
        Self {
            packing: Packing::new(Compression::Gzip),
            existing_layers: ExistingLayers::default(),
            media_types: None,
            annotations: BTreeMap::new(),
            descriptor_annotations: BTreeMap::new(),
        }
    }
}

/// The treatment of layers that came from elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExistingLayers {
    /// They go out as they came, byte for byte, so that a registry or client that has them need not
    /// get them again.
    #[default]
    Keep,
    /// Those packed otherwise are packed like new ones (`force-compression=true`).
    Repack,
}

/// Options that contradict each other or mean nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// Docker's media types have none for layers packed this way.
    // OCI-026
    #[error(
        "exporter option \"compression={}\" conflicts with \"oci-mediatypes=false\"",
        .0.name()
    )]
    UnknownToDocker(Compression),
    /// The level is out of range.
    #[error(
        "exporter option \"compression-level={level}\" is out of range: {} has {} to {}",
        .compression.name(), .compression.levels().start(), .compression.levels().end()
    )]
    Level {
        /// The level that was asked for.
        level: i32,
        /// The format.
        compression: Compression,
    },
}

impl ImageOptions {
    /// Checks that the options go together.
    ///
    /// # Errors
    /// See [`OptionError`].
    pub fn check(&self) -> Result<(), OptionError> {
        let Packing { compression, level } = self.packing;
        if let Some(family) = self.media_types {
            family.check(compression)?;
        }
        match level {
            Level::Exactly(level)
                if compression != Compression::None && !compression.levels().contains(&level) =>
            {
                Err(OptionError::Level { level, compression })
            }
            _ => Ok(()),
        }
    }
}

/// A family of media types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MediaFamily {
    /// OCI image-spec.
    #[default]
    Oci,
    /// Docker schema 2 (`oci-mediatypes=false`).
    Docker,
}

impl MediaFamily {
    /// Returns the family of an index's or manifest's media type.
    #[must_use]
    pub fn of(media_type: &str) -> Self {
        if media_type.starts_with("application/vnd.docker.") {
            Self::Docker
        } else {
            Self::Oci
        }
    }

    /// Checks that new layers can be packed in `compression`.
    ///
    /// # Errors
    /// [`OptionError::UnknownToDocker`].
    pub const fn check(self, compression: Compression) -> Result<(), OptionError> {
        match self {
            Self::Docker if !compression.is_known_to_docker() => {
                Err(OptionError::UnknownToDocker(compression))
            }
            Self::Oci | Self::Docker => Ok(()),
        }
    }

    /// Returns the media type of a manifest.
    #[must_use]
    pub const fn manifest(self) -> &'static str {
        match self {
            Self::Oci => media_type::OCI_MANIFEST,
            Self::Docker => media_type::DOCKER_MANIFEST,
        }
    }

    /// Returns the media type of an index.
    #[must_use]
    pub const fn index(self) -> &'static str {
        match self {
            Self::Oci => media_type::OCI_INDEX,
            Self::Docker => media_type::DOCKER_LIST,
        }
    }

    /// Returns the media type of a config.
    #[must_use]
    pub const fn config(self) -> &'static str {
        match self {
            Self::Oci => media_type::OCI_CONFIG,
            Self::Docker => media_type::DOCKER_CONFIG,
        }
    }

    /// Returns this family's word for what `media_type` says of a layer. Types that kiln does not
    /// know stay what they are.
    #[must_use]
    pub fn layer(self, media_type: &str) -> String {
        match (MediaKind::of(media_type), self) {
            (MediaKind::Layer(compression), Self::Oci) => compression.oci_layer().to_owned(),
            (MediaKind::Layer(compression), Self::Docker) => compression.docker_layer().to_owned(),
            _ => media_type.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(compression: Compression, level: Level, media_types: Option<MediaFamily>) -> String {
        let options = ImageOptions {
            packing: Packing { compression, level },
            media_types,
            ..ImageOptions::default()
        };
        match options.check() {
            Ok(()) => "fine".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    /// OCI-026.
    #[test]
    fn options_that_contradict_each_other_are_named() {
        let conflict =
            "exporter option \"compression=zstd\" conflicts with \"oci-mediatypes=false\"";
        for (compression, level, media_types, expected) in [
            (
                Compression::Zstd,
                Level::Default,
                Some(MediaFamily::Docker),
                conflict,
            ),
            (
                Compression::Zstd,
                Level::Exactly(22),
                Some(MediaFamily::Oci),
                "fine",
            ),
            (
                Compression::Gzip,
                Level::Exactly(0),
                Some(MediaFamily::Docker),
                "fine",
            ),
            (
                Compression::None,
                Level::Exactly(77),
                Some(MediaFamily::Docker),
                "fine",
            ),
            (
                Compression::Gzip,
                Level::Exactly(10),
                Some(MediaFamily::Oci),
                "exporter option \"compression-level=10\" is out of range: gzip has 0 to 9",
            ),
            (
                Compression::Zstd,
                Level::Exactly(-1),
                Some(MediaFamily::Oci),
                "exporter option \"compression-level=-1\" is out of range: zstd has 0 to 22",
            ),
        ] {
            assert_eq!(check(compression, level, media_types), expected);
        }
    }

    #[test]
    fn layers_change_family_and_nothing_else() {
        let gzip = media_type::OCI_LAYER_GZIP;
        assert_eq!(
            MediaFamily::Docker.layer(gzip),
            media_type::DOCKER_LAYER_GZIP
        );
        assert_eq!(
            MediaFamily::Oci.layer(media_type::DOCKER_LAYER),
            media_type::OCI_LAYER
        );
        assert_eq!(MediaFamily::Oci.layer("application/x"), "application/x");
        assert_eq!(
            MediaFamily::of(media_type::DOCKER_LIST),
            MediaFamily::Docker
        );
        assert_eq!(MediaFamily::of(MediaFamily::Oci.index()), MediaFamily::Oci);
    }
}
