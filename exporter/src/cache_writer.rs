//! From records to a shared cache.

use std::collections::HashMap;

use kiln_cache::{ActionKey, ActionRecord};
use kiln_tree::LayerId;

use crate::cache_config::{
    FORMAT, SharedCache, SharedLayer, SharedMount, SharedRecord, SharedState,
};

/// Puts a shared cache together.
#[derive(Debug)]
pub struct CacheWriter {
    pub(crate) cache: SharedCache,
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
