//! The config of a shared cache: records of steps, and where their layers are.
//!
//! The config of a cache's manifest is BuildKit's (`application/vnd.buildkit.cacheconfig.v0`): a
//! list of layers, each with its parent, and a list of records, each with a digest and the layer
//! that it led to. BuildKit reads it without complaint and finds nothing of its own in it, for its
//! digests are of its own description of a step, which kiln does not compute. What kiln needs
//! stands in one member more, `kiln`: its own records, with all their keys, and the names that kiln
//! has for the layers. A cache without that member was written by BuildKit, and kiln finds nothing
//! in it.
//!
//! Inside an image (`type=inline`) BuildKit keeps its records alone, in base64 under
//! `moby.buildkit.cache.v0`, since the image's manifest lists the layers; kiln's member stands
//! beside it as `kiln.cache.v1`, and names layers by their position in the image.
//!
//! The content of cache mounts (`mounts=true`) stands in kiln's member alone: each under its key,
//! as a blob that the manifest lists behind the layers, so that it lives as long as they do.
//!
//! States of file systems are written as a tree, each as one layer on top of an earlier state: a
//! build of a thousand steps would otherwise name half a million layers.

mod forms; // as others see it

use std::time::Duration;

use kiln_cache::{ActionKey, ActionRecord, BuiltLayer, LayerStack, Receipt};
use kiln_oci::{Descriptor, DiffId, ImageConfig, MediaKind, Sha256, Timestamp};
use kiln_snapshotter::{Description, KnownBlob};
use kiln_tree::{Blake3, LayerId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The media type of a cache's config, BuildKit's.
pub const CACHE_CONFIG: &str = "application/vnd.buildkit.cacheconfig.v0";

/// The member of an image's config in which BuildKit keeps records.
const BUILDKIT_INLINE: &str = "moby.buildkit.cache.v0";

/// The member of an image's config in which kiln keeps records.
const KILN_INLINE: &str = "kiln.cache.v1";

/// Changes with the meaning of anything below, or of the canonical tar.
pub(crate) const FORMAT: u32 = 1;

/// Records of steps with everything that they name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SharedCache {
    pub(crate) format: u32,
    pub(crate) layers: Vec<SharedLayer>,
    pub(crate) states: Vec<SharedState>,
    pub(crate) records: Vec<SharedRecord>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) mounts: Vec<SharedMount>,
}

/// The content of a cache mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SharedMount {
    /// The key that it is found by.
    pub key: Blake3,
    /// What Dockerfiles call it.
    pub id: String,
    /// The tar of the directory.
    pub diff_id: DiffId,
    /// A blob with that tar, beside the config.
    pub blob: Descriptor,
}

/// A layer that records name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SharedLayer {
    /// The layer.
    pub id: LayerId,
    /// Its canonical tar.
    pub diff_id: DiffId,
    /// Bytes of that tar.
    pub tar_bytes: u64,
    /// Where a blob with that tar is found.
    #[serde(flatten)]
    pub place: LayerPlace,
}

/// The place of a layer's blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LayerPlace {
    /// Under its digest, beside the config.
    Blob(Box<Descriptor>),
    /// At this position in the image that holds the config, counted from the base.
    Position(usize),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum SharedState {
    /// An image, by its manifest, or nothing.
    Base(Option<Sha256>),
    /// A layer on top of an earlier state.
    On {
        state: usize,
        layer: usize,
        created: Timestamp,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SharedRecord {
    pub(crate) keys: Vec<ActionKey>,
    pub(crate) state: usize,
    /// Milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) took: Option<u64>,
    pub(crate) receipt: Receipt,
}

/// Why something is not a shared cache.
#[derive(Debug, thiserror::Error)]
pub enum CacheConfigError {
    /// It is not JSON of the right shape.
    #[error("the config is not one of a cache")]
    Json(#[from] serde_json::Error),
    /// A later kiln wrote it.
    #[error(
        "it has format {0}, written by another version of kiln; this one reads format {FORMAT}"
    )]
    Format(u32),
    /// It contradicts itself.
    #[error("it names a {0} that it does not have")]
    Dangling(&'static str),
}

/// The content of a config that may be a cache's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FoundCache {
    /// Records that kiln can use.
    Shared(SharedCache),
    /// BuildKit's, under keys that kiln does not have.
    BuildKit,
    /// Nothing.
    Nothing,
}

impl SharedCache {
    /// Returns the keys of each record with its number.
    pub fn keys(&self) -> impl Iterator<Item = (ActionKey, usize)> {
        let records = self.records.iter().enumerate();
        records.flat_map(|(number, record)| record.keys.iter().map(move |key| (*key, number)))
    }

    /// Returns a record by its number, and the key of its recipe. `stacks` are the cache's own.
    ///
    /// # Panics
    /// When there are not so many.
    #[must_use]
    pub fn record(&self, number: usize, stacks: &[LayerStack]) -> (ActionKey, ActionRecord) {
        let record = &self.records[number];
        let record = ActionRecord {
            state: stacks[record.state].clone(),
            took: Duration::from_millis(record.took.unwrap_or(0)),
            receipt: record.receipt.clone(),
            evidence: record.keys[1..].to_vec(),
        };
        (self.records[number].keys[0], record)
    }

    /// Returns the stack of each state, for [`SharedCache::record`].
    #[must_use]
    pub fn stacks(&self) -> Vec<LayerStack> {
        let mut stacks: Vec<LayerStack> = Vec::with_capacity(self.states.len());
        for state in &self.states {
            let stack = match state {
                SharedState::Base(base) => LayerStack::on(*base),
                SharedState::On {
                    state,
                    layer,
                    created,
                } => stacks[*state].with(BuiltLayer {
                    layer: self.layers[*layer].id,
                    created: *created,
                }),
            };
            stacks.push(stack);
        }
        stacks
    }

    /// Returns the layers that records name.
    #[must_use]
    pub fn layers(&self) -> &[SharedLayer] {
        &self.layers
    }

    /// Returns what cache mounts held.
    #[must_use]
    pub fn mounts(&self) -> &[SharedMount] {
        &self.mounts
    }

    /// Refuses what would lead astray: everything that is named must be there, and earlier.
    fn checked(self) -> Result<Self, CacheConfigError> {
        if self.format != FORMAT {
            return Err(CacheConfigError::Format(self.format));
        }
        for (place, state) in self.states.iter().enumerate() {
            if let SharedState::On { state, layer, .. } = state {
                if *state >= place {
                    return Err(CacheConfigError::Dangling("state"));
                }
                if *layer >= self.layers.len() {
                    return Err(CacheConfigError::Dangling("layer"));
                }
            }
        }
        for record in &self.records {
            if record.state >= self.states.len() {
                return Err(CacheConfigError::Dangling("state"));
            }
            if record.keys.is_empty() {
                return Err(CacheConfigError::Dangling("key"));
            }
        }
        Ok(self)
    }
}

impl SharedLayer {
    /// Returns the layer as one that is described only, with its blob at `place`. `image` has the
    /// layers of the image that holds the config, if one does. None if there is no such blob, or it
    /// is no layer's.
    #[must_use]
    pub fn description(&self, image: &[Descriptor], place: &str) -> Option<Description> {
        let blob = match &self.place {
            LayerPlace::Blob(descriptor) => &**descriptor,
            LayerPlace::Position(position) => image.get(*position)?,
        };
        let MediaKind::Layer(compression) = MediaKind::of(&blob.media_type) else {
            return None;
        };
        Some(Description {
            tar_bytes: self.tar_bytes,
            blob: KnownBlob {
                diff_id: self.diff_id,
                descriptor: blob.clone(),
                compression,
                level: None,
                packer: 0,
            },
            place: place.to_owned(),
        })
    }
}

/// Reads the config of a cache's manifest.
///
/// # Errors
/// When it is not one, or not one that this kiln reads.
pub fn parse_cache_config(bytes: &[u8]) -> Result<FoundCache, CacheConfigError> {
    found(serde_json::from_slice::<Value>(bytes)?.get("kiln").cloned())
}

/// Looks for a cache in the config of an image.
///
/// # Errors
/// When there is one that this kiln does not read.
pub fn read_inline(config: &ImageConfig) -> Result<FoundCache, CacheConfigError> {
    match config.other.get(KILN_INLINE) {
        None if !config.other.contains_key(BUILDKIT_INLINE) => Ok(FoundCache::Nothing),
        member => found(member.cloned()),
    }
}

/// Removes from a config what an image says of a cache: it does not describe what is built upon it.
pub(crate) fn remove_inline(config: &mut ImageConfig) {
    config.other.remove(BUILDKIT_INLINE);
    config.other.remove(KILN_INLINE);
}

fn found(member: Option<Value>) -> Result<FoundCache, CacheConfigError> {
    let Some(member) = member else {
        return Ok(FoundCache::BuildKit);
    };
    // Of another format, nothing else can be relied upon.
    if let Some(format) = member.get("format").and_then(Value::as_u64)
        && format != u64::from(FORMAT)
    {
        return Err(CacheConfigError::Format(
            u32::try_from(format).unwrap_or(u32::MAX),
        ));
    }
    let cache: SharedCache = serde_json::from_value(member)?;
    Ok(FoundCache::Shared(cache.checked()?))
}

#[cfg(test)]
mod tests;
