//! The form of a CDI file (CDI specification 1.0, "JSON Definition").

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

use super::name::{CdiKind, DeviceName, NameError};

/// A file as it is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct SpecFile {
    pub(super) cdi_version: LooseText,
    pub(super) kind: LooseText,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, LooseText>,
    pub(super) devices: Vec<DeviceSpec>,
    #[serde(default)]
    pub(super) container_edits: EditsSpec,
}

/// One device.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct DeviceSpec {
    pub(super) name: LooseText,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, LooseText>,
    #[serde(default)]
    pub(super) container_edits: EditsSpec,
}

/// What is to be changed about a container. Lists may be null: that is how Go writes empty ones.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct EditsSpec {
    #[serde(deserialize_with = "list")]
    pub(super) env: Vec<LooseText>,
    #[serde(deserialize_with = "list")]
    pub(super) device_nodes: Vec<NodeSpec>,
    #[serde(deserialize_with = "list")]
    pub(super) net_devices: Vec<Value>,
    #[serde(deserialize_with = "list")]
    pub(super) mounts: Vec<CdiMount>,
    #[serde(deserialize_with = "list")]
    pub(super) hooks: Vec<HookSpec>,
    pub(super) intel_rdt: Option<Value>,
    #[serde(rename = "additionalGids", deserialize_with = "list")]
    pub(super) additional_gids: Vec<u32>,
}

/// A device node.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct NodeSpec {
    pub(super) path: String,
    pub(super) host_path: Option<String>,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    #[serde(default)]
    pub(super) major: u32,
    #[serde(default)]
    pub(super) minor: u32,
    pub(super) file_mode: Option<u32>,
    /// Of a device control group, which kiln does not use: what the node's mode permits is
    /// permitted.
    #[serde(rename = "permissions")]
    pub(super) _permissions: Option<String>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
}

/// A mount.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct CdiMount {
    pub(super) host_path: String,
    pub(super) container_path: String,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    #[serde(default, deserialize_with = "list")]
    pub(super) options: Vec<String>,
}

/// A program of the host to run; of interest only for being refused.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HookSpec {
    pub(super) path: String,
}

/// A text that may be written without quotes: `true` and `0` are texts here too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LooseText(pub(super) String);

impl<'de> Deserialize<'de> for LooseText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match Value::deserialize(from)? {
            Value::String(text) => Ok(Self(text)),
            value @ (Value::Bool(_) | Value::Number(_)) => Ok(Self(value.to_string())),
            Value::Null => Ok(Self::default()),
            Value::Array(_) | Value::Object(_) => Err(de::Error::custom("expected a string")),
        }
    }
}

fn list<'de, D, T>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(from).map(Option::unwrap_or_default)
}

/// What is wrong with a file that can be read.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// It is of a version with another form.
    #[error("unknown cdiVersion {0:?}")]
    Version(String),
    /// A name breaks the rules.
    #[error(transparent)]
    Name(#[from] NameError),
    /// There is nothing in it.
    #[error("no devices")]
    NoDevices,
    /// A device is described twice.
    #[error("device {0:?} is described twice")]
    Twice(String),
}

impl SpecFile {
    /// Checks what the form alone does not.
    pub(super) fn check(&self) -> Result<CdiKind, SpecError> {
        let version = &self.cdi_version.0;
        let mut numbers = version.trim_start_matches('v').split('.');
        let is_known = matches!(numbers.next(), Some("0" | "1"))
            && numbers.clone().count() == 2
            && numbers.all(|number| number.parse::<u32>().is_ok());
        if !is_known {
            return Err(SpecError::Version(version.clone()));
        }
        let kind = CdiKind::parse(&self.kind.0)?;
        if self.devices.is_empty() {
            return Err(SpecError::NoDevices);
        }
        let mut names: Vec<&str> = Vec::new();
        for device in &self.devices {
            DeviceName::check(&device.name.0)?;
            if names.contains(&device.name.0.as_str()) {
                return Err(SpecError::Twice(device.name.0.clone()));
            }
            names.push(&device.name.0);
        }
        Ok(kind)
    }
}
