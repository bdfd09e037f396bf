//! Manifests: one image's config and layers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::nullable::null_is_default;
use crate::{Descriptor, media_type};

/// Bytes. What registries accept at most (distribution-spec v1.1, "Pushing Manifests").
pub const LARGEST_MANIFEST: u64 = 4 << 20;
/// Bytes. A thousand times a usual one, with room for a cache inside: it is read whole.
pub const LARGEST_CONFIG: u64 = 16 << 20;

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
