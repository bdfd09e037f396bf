//! Indexes: one image for several platforms.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::nullable::null_is_default;
use crate::{Descriptor, Platform, media_type};

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

    /// Returns the entries that are, or lead to, an image: no attestations, nothing of an unknown
    /// type.
    pub fn images(&self) -> impl Iterator<Item = &Descriptor> {
        self.manifests.iter().filter(|entry| entry.leads_to_image())
    }
}

#[cfg(test)]
mod tests;
