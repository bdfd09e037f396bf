//! Images: manifests, indexes and configs, as JSON and as values.
//!
//! Config members that kiln does not know are kept when a config is built upon. `null` and an
//! absent member mean the same (OCI image-spec v1.1, config.md; Docker writes `null`).

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::{Descriptor, DiffId, ImageId, MediaKind, Platform, Sha256, Timestamp, media_type};

/// Bytes. What registries accept at most (distribution-spec v1.1, "Pushing Manifests").
pub const LARGEST_MANIFEST: u64 = 4 << 20;
/// Bytes. A thousand times a usual one, with room for a cache inside: it is read whole.
pub const LARGEST_CONFIG: u64 = 16 << 20;

/// An image config: what to run and which layers to run it on.
///
/// OCI image-spec v1.1, config.md, with Docker's additions. Members are written in the order of
/// their names, as BuildKit does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// E.g. `amd64`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub architecture: String,
    /// Who made it (`MAINTAINER`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Defaults for containers.
    #[serde(default, deserialize_with = "null_is_default")]
    pub config: RunConfig,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// How each layer came about, base first.
    #[serde(
        default,
        deserialize_with = "null_items_are_defaults",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub history: Vec<History>,
    /// E.g. `linux`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub os: String,
    /// The layers.
    #[serde(default, deserialize_with = "null_is_default")]
    pub rootfs: RootFs,
    /// E.g. `v7`.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub variant: String,
    /// Members that kiln does not know.
    #[serde(flatten)]
    pub other: BTreeMap<String, serde_json::Value>,
}

/// Defaults for containers made from an image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RunConfig {
    /// User and group, as written in the Dockerfile.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub user: String,
    /// E.g. `80/tcp`.
    #[serde(
        default,
        deserialize_with = "nulls_are_defaults",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub exposed_ports: BTreeMap<String, Empty>,
    /// `NAME=value`, in order.
    #[serde(
        default,
        deserialize_with = "null_items_are_defaults",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub env: Vec<String>,
    /// What runs, in front of `cmd`.
    #[serde(
        default,
        deserialize_with = "null_items_are_defaults",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub entrypoint: Vec<String>,
    /// What runs, or the arguments to `entrypoint`.
    #[serde(
        default,
        deserialize_with = "null_items_are_defaults",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub cmd: Vec<String>,
    /// Paths that hold data of their own.
    #[serde(
        default,
        deserialize_with = "nulls_are_defaults",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub volumes: BTreeMap<String, Empty>,
    /// Where it runs.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub working_dir: String,
    /// Free key-value pairs.
    #[serde(
        default,
        deserialize_with = "nulls_are_defaults",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub labels: BTreeMap<String, String>,
    /// How it is asked to stop.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub stop_signal: String,
    /// Set by `CMD`; a relic that BuildKit still writes.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "is_false"
    )]
    pub args_escaped: bool,
    /// How its health is probed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Instructions for builds on top of it.
    #[serde(
        default,
        deserialize_with = "null_items_are_defaults",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub on_build: Vec<String>,
    /// The shell of shell-form commands.
    #[serde(
        default,
        deserialize_with = "null_items_are_defaults",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub shell: Vec<String>,
}

/// The empty JSON object that Docker uses for members of sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// A health probe; durations in nanoseconds, 0 for the runtime's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", text]`.
    #[serde(
        default,
        deserialize_with = "null_items_are_defaults",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub test: Vec<String>,
    /// Time between probes.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "is_zero"
    )]
    pub interval: i64,
    /// Time a probe may take.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "is_zero"
    )]
    pub timeout: i64,
    /// Time at the start in which failures do not count.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "is_zero"
    )]
    pub start_period: i64,
    /// Time between probes in that period.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "is_zero"
    )]
    pub start_interval: i64,
    /// Failures in a row that make it unhealthy.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "is_zero"
    )]
    pub retries: i64,
}

/// The layers of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(
        rename = "type",
        default = "layers",
        deserialize_with = "layers_if_null"
    )]
    pub kind: String,
    /// Base first.
    #[serde(default, deserialize_with = "null_is_default")]
    pub diff_ids: Vec<DiffId>,
}

impl Default for RootFs {
    fn default() -> Self {
        Self {
            kind: layers(),
            diff_ids: Vec::new(),
        }
    }
}

/// How one layer, or one change of the config, came about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// The instruction.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub created_by: String,
    /// Who.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub author: String,
    /// Which builder.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub comment: String,
    /// Whether there is no layer for it.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "is_false"
    )]
    pub empty_layer: bool,
}

/// A manifest: one image's config and layers (OCI image-spec v1.1, manifest.md).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// Absent in some OCI manifests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Type of an artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The config.
    pub config: Descriptor,
    /// Base first.
    #[serde(default, deserialize_with = "null_is_default")]
    pub layers: Vec<Descriptor>,
    /// Free key-value pairs.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
}

/// An index: one image for several platforms (OCI image-spec v1.1, image-index.md).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// Absent in some OCI indexes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Type of an artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The manifests.
    #[serde(default, deserialize_with = "null_is_default")]
    pub manifests: Vec<Descriptor>,
    /// Free key-value pairs.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
}

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
    /// A part is not the JSON that it should be.
    #[error("{what} {digest} is not valid")]
    Json {
        /// `manifest`, `index` or `config`.
        what: &'static str,
        /// Its digest.
        digest: Sha256,
        /// What the JSON parser says.
        source: serde_json::Error,
    },
    /// It is not the manifest of an image: an artifact, or of the long obsolete schema 1.
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

impl Manifest {
    /// Returns an OCI manifest.
    #[must_use]
    pub fn oci(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(media_type::OCI_MANIFEST.to_owned()),
            artifact_type: None,
            config,
            layers,
            annotations: BTreeMap::new(),
        }
    }

    /// Returns the bytes to be stored: indented by two, as BuildKit writes them.
    ///
    /// # Panics
    /// Never: the value is plain data.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("a manifest is plain data")
    }
}

impl Index {
    /// Returns an OCI index.
    #[must_use]
    pub fn oci(manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(media_type::OCI_INDEX.to_owned()),
            artifact_type: None,
            manifests,
            annotations: BTreeMap::new(),
        }
    }

    /// Returns the bytes to be stored.
    ///
    /// # Panics
    /// Never: the value is plain data.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("an index is plain data")
    }
}

impl ImageConfig {
    /// Returns the bytes to be stored, members in order of their names.
    ///
    /// # Panics
    /// Never: the value is plain data.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // The unknown members are sorted in among the known ones.
        let value = serde_json::to_value(self).expect("a config is plain data");
        let serde_json::Value::Object(members) = value else {
            unreachable!("a struct is written as an object");
        };
        let sorted: BTreeMap<String, serde_json::Value> = members.into_iter().collect();
        serde_json::to_vec(&sorted).expect("a config is plain data")
    }

    /// Returns what the image runs on.
    #[must_use]
    pub fn platform(&self) -> Platform {
        let os_version = self.other.get("os.version").and_then(|v| v.as_str());
        Platform {
            os_version: os_version.unwrap_or_default().to_owned(),
            ..Platform::new(&self.os, &self.architecture, &self.variant)
        }
    }
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
            serde_json::from_slice(config_bytes).map_err(|source| InvalidImage::Json {
                what: "config",
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
    let json = |source| InvalidImage::Json {
        what: "manifest",
        digest,
        source,
    };
    let value: serde_json::Value = serde_json::from_slice(bytes).map_err(json)?;
    let not_an_image = |found: &str| InvalidImage::NotAnImage {
        digest,
        found: found.to_owned(),
    };
    let is_index = value.get("manifests").is_some();
    if is_index && value.get("layers").is_some() {
        return Err(not_an_image("ambiguous: it has both manifests and layers"));
    }
    if is_index {
        return Err(not_an_image("an index"));
    }
    if value.get("schemaVersion") == Some(&1.into()) {
        return Err(not_an_image("a manifest of the obsolete schema 1"));
    }
    let manifest: Manifest = serde_json::from_value(value).map_err(json)?;
    match MediaKind::of(&manifest.config.media_type) {
        MediaKind::Config => Ok(manifest),
        _ => Err(not_an_image(&format!(
            "an artifact with config type {}",
            manifest.config.media_type
        ))),
    }
}

pub(crate) fn null_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn layers() -> String {
    "layers".to_owned()
}

fn layers_if_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_else(layers))
}

/// As [`null_is_default`], also for the items of a list.
fn null_items_are_defaults<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let items = Option::<Vec<Option<T>>>::deserialize(deserializer)?.unwrap_or_default();
    Ok(items.into_iter().map(Option::unwrap_or_default).collect())
}

/// As [`null_is_default`], also for the values of a map: `{"80/tcp":null}` is a set of one.
fn nulls_are_defaults<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, T>, D::Error> {
    let map = Option::<BTreeMap<String, Option<T>>>::deserialize(deserializer)?.unwrap_or_default();
    let filled = |(key, value): (String, Option<T>)| (key, value.unwrap_or_default());
    Ok(map.into_iter().map(filled).collect())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(value: &bool) -> bool {
    !*value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(value: &i64) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_members_and_nulls_survive_reading() {
        let text = r#"{"os":"linux","architecture":"amd64","os.version":"1","config":{"Cmd":null,
            "Env":["A=b"],"Volumes":{"/v":{}},"ExposedPorts":null},"history":null,
            "rootfs":{"type":"layers","diff_ids":null},"moby.thing":{"x":1}}"#;
        let config: ImageConfig = serde_json::from_str(text).unwrap();
        assert_eq!(
            String::from_utf8(config.to_bytes()).unwrap(),
            r#"{"architecture":"amd64","config":{"Env":["A=b"],"Volumes":{"/v":{}}},"moby.thing":{"x":1},"os":"linux","os.version":"1","rootfs":{"diff_ids":[],"type":"layers"}}"#
                .replace(r#""rootfs":{"diff_ids":[],"type":"layers"}"#, r#""rootfs":{"type":"layers","diff_ids":[]}"#)
        );
    }

    /// Go reads every null as nothing, so programs write them anywhere.
    #[test]
    fn every_null_of_a_config_is_nothing() {
        let text = r#"{"architecture":null,"os":null,"variant":null,"author":null,"created":null,
            "config":{"User":null,"ExposedPorts":{"80/tcp":null},"Env":["A=b",null],
                "Entrypoint":[null],"Cmd":null,"Volumes":{"/v":null},"WorkingDir":null,
                "Labels":{"k":null},"StopSignal":null,"ArgsEscaped":null,"OnBuild":null,
                "Shell":null,"Healthcheck":{"Test":null,"Interval":null,"Timeout":null,
                    "StartPeriod":null,"StartInterval":null,"Retries":null}},
            "history":[{"created":null,"created_by":null,"author":null,"comment":null,
                "empty_layer":null},null],
            "rootfs":{"type":null,"diff_ids":null}}"#;
        let config: ImageConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.config.env, ["A=b", ""]);
        assert_eq!(config.config.exposed_ports.len(), 1);
        assert_eq!(config.config.volumes.len(), 1);
        assert_eq!(config.config.labels["k"], "");
        assert_eq!(config.config.healthcheck, Some(Healthcheck::default()));
        assert_eq!(config.history, vec![History::default(); 2]);
        assert_eq!(config.rootfs, RootFs::default());
        for member in ["config", "rootfs"] {
            let text = format!(r#"{{"architecture":"amd64","os":"linux","{member}":null}}"#);
            serde_json::from_str::<ImageConfig>(&text).unwrap();
        }
        let descriptor = format!(
            r#"{{"mediaType":null,"digest":"{}","size":2,"urls":null,"annotations":null,
                "platform":{{"os":"linux","architecture":null,"variant":null}},"artifactType":null}}"#,
            Sha256::of(b"")
        );
        serde_json::from_str::<Descriptor>(&descriptor).unwrap();
    }

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
