//! From records to a shared cache.

use std::collections::HashMap;

use kiln_cache::{ActionKey, ActionRecord, LayerStack};
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
    /// The states of stacks that were met, of which only those that may be named have one.
    stacks: HashMap<LayerStack, Option<usize>>,
}

impl CacheWriter {
    /// Begins with the layers that may be named.
    #[must_use]
    pub fn new(layers: Vec<SharedLayer>) -> Self {
        let positions = layers.iter().enumerate();
        Self {
            layers: positions.map(|(place, layer)| (layer.id, place)).collect(),
            states: HashMap::new(),
            stacks: HashMap::new(),
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
        let Some(state) = self.state_of(&record.state) else {
            return;
        };
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

    /// Returns the state of a stack, whose lower part was mostly met before.
    fn state_of(&mut self, stack: &LayerStack) -> Option<usize> {
        let mut new = Vec::new();
        let mut state = None;
        for stack in stack.down() {
            if let Some(met) = self.stacks.get(&stack) {
                state = Some(*met);
                break;
            }
            new.push(stack);
        }
        let mut state = match state {
            Some(met) => met,
            None => {
                let bottom = new.pop()?;
                let state = self.state(SharedState::Base(bottom.base()));
                self.stacks.insert(bottom, Some(state));
                Some(state)
            }
        };
        for stack in new.into_iter().rev() {
            let built = stack.top()?;
            let layer = self.layers.get(&built.layer).copied();
            state = state.zip(layer).map(|(state, layer)| {
                self.state(SharedState::On {
                    state,
                    layer,
                    created: built.created,
                })
            });
            self.stacks.insert(stack, state);
        }
        state
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
