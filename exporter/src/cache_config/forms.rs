//! A shared cache as others see it: the config of a manifest, and members of an image's config.

use std::collections::HashMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use kiln_cache::Receipt;
use kiln_oci::{ImageConfig, Sha256};
use serde_json::{Value, json};

use super::{BUILDKIT_INLINE, KILN_INLINE, LayerPlace, SharedCache, SharedState};

impl SharedCache {
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
        // An image's digest must not depend on how long a step took, and every pull of the
        // image transfers its config.
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
}
