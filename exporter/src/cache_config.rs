//! What a shared cache says: records of steps, and where their layers are.
//!
//! The config of a cache's manifest is BuildKit's (`application/vnd.buildkit.cacheconfig.v0`): a list
//! of layers, each with its parent, and a list of records, each with a digest and the layer that it
//! led to. BuildKit reads it without complaint and finds nothing of its own in it, for its digests
//! are of its own description of a step, which kiln does not compute. What kiln needs stands in one
//! member more, `kiln`: its own records, with all their keys, and the names that kiln has for the
//! layers. A cache without that member was written by BuildKit, and kiln finds nothing in it.
//!
//! Inside an image (`type=inline`) BuildKit keeps its records alone, in base64 under
//! `moby.buildkit.cache.v0`, since the image's manifest lists the layers; kiln's member stands beside
//! it as `kiln.cache.v1`, and names layers by their position in the image.
//!
//! What cache mounts held (`mounts=true`) stands in kiln's member alone: each under what kiln finds it
//! by, as a blob that the manifest lists behind the layers, so that it lives as long as they do.
//!
//! States of file systems are written as a tree, each as one layer on top of an earlier state: a
//! build of a thousand steps would otherwise name half a million layers.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use kiln_cache::{
    ActionKey, ActionRecord, Blake3, BuiltLayer, Descriptor, DiffId, ImageConfig, LayerId,
    MediaKind, Receipt, Sha256, State, Timestamp,
};
use kiln_snapshotter::{Description, KnownBlob};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The media type of a cache's config, BuildKit's.
pub const CACHE_CONFIG: &str = "application/vnd.buildkit.cacheconfig.v0";

/// Where BuildKit keeps records in the config of an image.
const BUILDKIT_INLINE: &str = "moby.buildkit.cache.v0";

/// Where kiln keeps records in the config of an image.
const KILN_INLINE: &str = "kiln.cache.v1";

/// Changes with the meaning of anything below, or of the canonical tar.
const FORMAT: u32 = 1;

/// Records of steps with everything that they name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SharedCache {
    format: u32,
    layers: Vec<SharedLayer>,
    states: Vec<SharedState>,
    records: Vec<SharedRecord>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    mounts: Vec<SharedMount>,
}

/// What a cache mount held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SharedMount {
    /// What it is found by.
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

/// Where the blob of a layer is found.
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
enum SharedState {
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
struct SharedRecord {
    keys: Vec<ActionKey>,
    state: usize,
    /// Milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    took: Option<u64>,
    receipt: Receipt,
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

/// What was found where a cache might be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FoundCache {
    /// Records that kiln can use.
    Shared(SharedCache),
    /// BuildKit's, under keys that kiln does not have.
    BuildKit,
    /// Nothing.
    Nothing,
}

/// Puts a shared cache together.
#[derive(Debug)]
pub struct CacheWriter {
    cache: SharedCache,
    layers: HashMap<LayerId, usize>,
    states: HashMap<SharedState, usize>,
}

impl CacheWriter {
    /// Begins with the layers that may be named.
    #[must_use]
    pub fn new(layers: Vec<SharedLayer>) -> Self {
        let positions = layers.iter().enumerate();
        Self {
            layers: positions.map(|(place, layer)| (layer.id, place)).collect(),
            states: HashMap::new(),
            cache: SharedCache {
                format: FORMAT,
                layers,
                states: Vec::new(),
                records: Vec::new(),
                mounts: Vec::new(),
            },
        }
    }

    /// Adds what a step came to, to be found under `recipe` and the record's own evidence. A record
    /// with a layer that may not be named is left out.
    pub fn add(&mut self, recipe: ActionKey, record: &ActionRecord) {
        let layers = &record.state.layers;
        if !layers
            .iter()
            .all(|built| self.layers.contains_key(&built.layer))
        {
            return;
        }
        let mut state = self.state(SharedState::Base(record.state.base));
        for built in layers {
            state = self.state(SharedState::On {
                state,
                layer: self.layers[&built.layer],
                created: built.created,
            });
        }
        let mut keys = vec![recipe];
        keys.extend(&record.evidence);
        self.cache.records.push(SharedRecord {
            keys,
            state,
            took: Some(u64::try_from(record.took.as_millis()).unwrap_or(u64::MAX)),
            receipt: record.receipt.clone(),
        });
    }

    /// Adds what a cache mount held.
    pub fn add_mount(&mut self, mount: SharedMount) {
        self.cache.mounts.push(mount);
    }

    fn state(&mut self, state: SharedState) -> usize {
        let next = self.cache.states.len();
        let place = *self.states.entry(state.clone()).or_insert(next);
        if place == next {
            self.cache.states.push(state);
        }
        place
    }

    /// Returns the cache.
    #[must_use]
    pub fn finish(self) -> SharedCache {
        self.cache
    }
}

impl SharedCache {
    /// Returns the keys of each record with its number.
    pub fn keys(&self) -> impl Iterator<Item = (ActionKey, usize)> {
        let records = self.records.iter().enumerate();
        records.flat_map(|(number, record)| record.keys.iter().map(move |key| (*key, number)))
    }

    /// Returns a record by its number, and the key of its recipe.
    ///
    /// # Panics
    /// When there are not so many.
    #[must_use]
    pub fn record(&self, number: usize) -> (ActionKey, ActionRecord) {
        let record = &self.records[number];
        let mut state = State::default();
        let mut next = record.state;
        loop {
            match self.states[next] {
                SharedState::Base(base) => {
                    state.base = base;
                    break;
                }
                SharedState::On {
                    state: below,
                    layer,
                    created,
                } => {
                    state.layers.push(BuiltLayer {
                        layer: self.layers[layer].id,
                        created,
                    });
                    next = below;
                }
            }
        }
        state.layers.reverse();
        let record = ActionRecord {
            state,
            took: Duration::from_millis(record.took.unwrap_or(0)),
            receipt: record.receipt.clone(),
            evidence: record.keys[1..].to_vec(),
        };
        (self.records[number].keys[0], record)
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

    /// Returns the config of a cache's manifest.
    #[must_use]
    pub fn to_config(&self) -> Vec<u8> {
        // BuildKit's layers are the states that have one, in the same order.
        let mut numbers: HashMap<usize, usize> = HashMap::new();
        let mut layers: Vec<Value> = Vec::new();
        for (place, state) in self.states.iter().enumerate() {
            let SharedState::On {
                state: below,
                layer,
                created,
            } = state
            else {
                continue;
            };
            let layer = &self.layers[*layer];
            let LayerPlace::Blob(blob) = &layer.place else {
                continue;
            };
            let parent = numbers.get(below).map_or(json!(-1), |parent| json!(parent));
            numbers.insert(place, layers.len());
            layers.push(json!({
                "blob": blob.digest,
                "parent": parent,
                "annotations": {
                    "mediaType": blob.media_type,
                    "diffID": layer.diff_id,
                    "size": blob.size_bytes,
                    "createdAt": created,
                },
            }));
        }
        let records = self.buildkit_records(|state| numbers.get(&state).copied());
        let config = json!({ "layers": layers, "records": records, "kiln": self });
        serde_json::to_vec(&config).expect("a cache is plain data")
    }

    /// Writes the cache into the config of the image whose layers it names by position.
    pub fn write_inline(mut self, config: &mut ImageConfig) {
        // An image's digest must not depend on how long a step took, and whoever pulls the image
        // pays for every word.
        for record in &mut self.records {
            record.took = None;
            record.receipt = Receipt::default();
        }
        let records = self.buildkit_records(|state| match &self.states[state] {
            SharedState::On { layer, .. } => match self.layers[*layer].place {
                LayerPlace::Position(position) => Some(position),
                LayerPlace::Blob(_) => None,
            },
            SharedState::Base(_) => None,
        });
        let records = serde_json::to_vec(&records).expect("records are plain data");
        let kiln = serde_json::to_value(&self).expect("a cache is plain data");
        let members = &mut config.other;
        members.insert(
            BUILDKIT_INLINE.to_owned(),
            BASE64_STANDARD.encode(records).into(),
        );
        members.insert(KILN_INLINE.to_owned(), kiln);
    }

    /// Returns the records in BuildKit's form; `layer` tells the layer that a state ends with.
    fn buildkit_records(&self, layer: impl Fn(usize) -> Option<usize>) -> Vec<Value> {
        let results = self.records.iter().filter_map(|record| {
            let SharedState::On { created, .. } = &self.states[record.state] else {
                return None;
            };
            let digest = Sha256::of(record.keys[0].to_string().as_bytes());
            let result = json!({ "layer": layer(record.state)?, "createdAt": created });
            Some(json!({ "digest": digest, "layers": [result] }))
        });
        results.collect()
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
mod tests {
    use kiln_cache::media_type;

    use super::*;

    fn key(name: &str) -> ActionKey {
        ActionKey(Blake3::of(name.as_bytes()))
    }

    fn layer(name: &str, place: LayerPlace) -> SharedLayer {
        SharedLayer {
            id: LayerId(Blake3::of(name.as_bytes())),
            diff_id: DiffId(Sha256::of(name.as_bytes())),
            tar_bytes: 7,
            place,
        }
    }

    fn blob(name: &str) -> Descriptor {
        Descriptor::new(media_type::OCI_LAYER_GZIP, Sha256::of(name.as_bytes()), 5)
    }

    fn record(names: &[&str]) -> ActionRecord {
        let layers = names.iter().zip(1..).map(|(name, second)| BuiltLayer {
            layer: LayerId(Blake3::of(name.as_bytes())),
            created: Timestamp::from_seconds(second),
        });
        let mut receipt = Receipt::default();
        receipt.add("command", names.join(" "));
        ActionRecord {
            state: State {
                base: Some(Sha256::of(b"base")),
                layers: layers.collect(),
            },
            took: Duration::from_millis(1500),
            receipt,
            evidence: vec![key(&format!("evidence of {names:?}"))],
        }
    }

    fn sample(place: impl Fn(usize, &str) -> LayerPlace) -> SharedCache {
        let layers = ["a", "b"].iter().enumerate();
        let mut writer = CacheWriter::new(
            layers
                .map(|(n, name)| layer(name, place(n, name)))
                .collect(),
        );
        writer.add(key("one"), &record(&["a"]));
        writer.add(key("two"), &record(&["a", "b"]));
        // One of its layers is not to be had.
        writer.add(key("three"), &record(&["a", "c"]));
        writer.finish()
    }

    fn in_blobs() -> SharedCache {
        sample(|_, name| LayerPlace::Blob(Box::new(blob(name))))
    }

    #[test]
    fn records_come_back_under_all_their_keys() {
        let cache = in_blobs();
        let Ok(FoundCache::Shared(read)) = parse_cache_config(&cache.to_config()) else {
            panic!("kiln wrote it");
        };
        assert_eq!(read, cache);
        let keys: HashMap<ActionKey, usize> = read.keys().collect();
        assert_eq!(keys.len(), 4);
        for (name, names) in [("one", &["a"][..]), ("two", &["a", "b"])] {
            let expected = record(names);
            assert_eq!(keys[&key(name)], keys[&expected.evidence[0]]);
            assert_eq!(read.record(keys[&key(name)]), (key(name), expected));
        }
        let description = read.layers()[1].description(&[], "h/app").unwrap();
        assert_eq!(description.blob.descriptor, blob("b"));
        assert_eq!(description.tar().size_bytes, 7);
    }

    #[test]
    fn what_mounts_held_is_in_kilns_member_alone() {
        let mount = SharedMount {
            key: Blake3::of(b"npm"),
            id: "npm".to_owned(),
            diff_id: DiffId(Sha256::of(b"npm")),
            blob: blob("npm"),
        };
        let without: Value = serde_json::from_slice(&in_blobs().to_config()).unwrap();
        assert_eq!(without["kiln"].get("mounts"), None);
        let mut writer = CacheWriter::new(Vec::new());
        writer.cache = in_blobs();
        writer.add_mount(mount.clone());
        let config = writer.finish().to_config();
        let Ok(FoundCache::Shared(read)) = parse_cache_config(&config) else {
            panic!("kiln wrote it");
        };
        assert_eq!(read.mounts(), [mount]);
        let mut with: Value = serde_json::from_slice(&config).unwrap();
        with["kiln"].as_object_mut().unwrap().remove("mounts");
        assert_eq!(with, without);
    }

    #[test]
    fn buildkit_finds_layers_with_their_parents() {
        let config: Value = serde_json::from_slice(&in_blobs().to_config()).unwrap();
        let parents: Vec<&Value> = config["layers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|layer| &layer["parent"])
            .collect();
        assert_eq!(parents, [&json!(-1), &json!(0)]);
        assert_eq!(config["layers"][1]["blob"], json!(blob("b").digest));
        assert_eq!(config["records"][1]["layers"][0]["layer"], 1);
        let digest = config["records"][0]["digest"].as_str().unwrap();
        assert!(digest.starts_with("sha256:"));
    }

    #[test]
    fn an_image_names_its_own_layers() {
        let mut config = ImageConfig::default();
        assert_eq!(read_inline(&config).unwrap(), FoundCache::Nothing);
        sample(|place, _| LayerPlace::Position(place + 3)).write_inline(&mut config);
        let FoundCache::Shared(read) = read_inline(&config).unwrap() else {
            panic!("kiln wrote it");
        };
        let image: Vec<Descriptor> = ["x", "x", "x", "a", "b"].map(blob).to_vec();
        let description = read.layers()[1].description(&image, "h/app").unwrap();
        assert_eq!(description.blob.descriptor, blob("b"));
        assert_eq!(read.layers()[1].description(&image[..4], "h/app"), None);
        // What differs from run to run is not in an image.
        assert_eq!(read.record(0).1.took, Duration::ZERO);
        let records = config.other[BUILDKIT_INLINE].as_str().unwrap();
        let records = BASE64_STANDARD.decode(records).unwrap();
        let records: Value = serde_json::from_slice(&records).unwrap();
        assert_eq!(records[1]["layers"][0]["layer"], 4);
        remove_inline(&mut config);
        assert_eq!(config, ImageConfig::default());
    }

    #[test]
    fn what_leads_astray_is_refused() {
        let good: Value = serde_json::from_slice(&in_blobs().to_config()).unwrap();
        let check = |path: &str, value: Value, expected: &str| {
            let mut bad = good.clone();
            *bad.pointer_mut(path).unwrap() = value;
            let bytes = serde_json::to_vec(&bad).unwrap();
            let error = parse_cache_config(&bytes).unwrap_err().to_string();
            assert!(error.contains(expected), "{path}: {error}");
        };
        check("/kiln/format", json!(2), "format 2");
        check("/kiln/states/1/on/state", json!(1), "state");
        check("/kiln/states/1/on/layer", json!(9), "layer");
        check("/kiln/records/0/state", json!(9), "state");
        check("/kiln/records/0/keys", json!([]), "key");
        check("/kiln/layers/0/id", json!("x"), "not one of a cache");
        check("/kiln", json!(1), "not one of a cache");
        let foreign = br#"{"layers":[],"records":[]}"#;
        assert_eq!(parse_cache_config(foreign).unwrap(), FoundCache::BuildKit);
    }
}
