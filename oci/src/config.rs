//! Image configs: what to run, and which layers to run it on.
//!
//! Members that kiln does not know are kept when a config is built upon. `null` and an absent
//! member mean the same (OCI image-spec v1.1, config.md; Docker writes `null`).

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::nullable::{
    is_false, is_zero, null_is_default, null_items_are_defaults, nulls_are_defaults,
};
use crate::{DiffId, Platform, Timestamp};

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

/// The history of one layer, or of one change of the config.
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

fn layers() -> String {
    "layers".to_owned()
}

fn layers_if_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_else(layers))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Descriptor, Sha256};

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

    #[test]
    fn the_platform_of_a_config_has_its_version() {
        let text = r#"{"os":"windows","architecture":"arm","variant":"v6","os.version":"10.0"}"#;
        let config: ImageConfig = serde_json::from_str(text).unwrap();
        let platform = config.platform();
        assert_eq!(platform.to_string(), "windows/arm/v6");
        assert_eq!(platform.os_version, "10.0");
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
}
