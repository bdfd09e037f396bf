use kiln_oci::{Descriptor, DiffId, RunConfig, Timestamp};
use serde::Serialize;

/// An image as `docker image inspect` shows it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageDescription {
    /// The digest of the config, or of the index.
    pub id: String,
    /// Its names with tags.
    pub repo_tags: Vec<String>,
    /// Its names with digests.
    pub repo_digests: Vec<String>,
    /// What its last step says of itself.
    pub comment: String,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// Who made it.
    pub author: String,
    /// How containers of it are run.
    pub config: RunConfig,
    /// The processor it is for.
    pub architecture: String,
    /// The kind of that processor; empty for none.
    pub variant: String,
    /// The operating system it is for.
    pub os: String,
    /// Bytes of its layers.
    #[serde(rename = "Size")]
    pub size_bytes: u64,
    /// Its layers.
    #[serde(rename = "RootFS")]
    pub root_fs: InspectedRootFs,
    /// What points at it: at its manifest, or at the index.
    pub descriptor: Descriptor,
    /// What the index lists, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifests: Option<Vec<Descriptor>>,
}

/// The layers of an image.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InspectedRootFs {
    /// Always `layers`.
    #[serde(rename = "Type")]
    kind: &'static str,
    /// Digests of the layers as archives that are not compressed, the lowest first.
    pub layers: Vec<DiffId>,
}

impl InspectedRootFs {
    /// Lists layers.
    #[must_use]
    pub fn of(layers: Vec<DiffId>) -> Self {
        Self {
            kind: "layers",
            layers,
        }
    }
}
