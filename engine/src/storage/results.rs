//! Results of steps, and images made of them, as entries of the cache.

use std::collections::{BTreeMap, HashMap};

use kiln_cache::{ActionKey, BuiltLayer, Candidate, Eviction, Object, StoredRecord};
use kiln_oci::{Sha256, Timestamp};
use kiln_tree::{Blake3, Encoder, LayerId};

use super::entry::{CacheEntry, EntryKind, describe};
use super::holdings::{self, EntryContent, HeldEntry, Inventory, candidate, entry, short};
use super::reach::ManifestReach;
use super::roots::Roots;
use crate::stores::Stores;

/// Returns when results were used last by builds that did not need to look at them: the last
/// build of each definition stands on all its steps, and would miss them at its next change.
pub(crate) fn uses_by_builds(stores: &Stores) -> HashMap<ActionKey, Timestamp> {
    let mut uses = HashMap::new();
    for build in stores.journal.all() {
        for key in build.steps.iter().filter_map(|step| step.key) {
            let last = uses.entry(key).or_insert(build.begun);
            *last = (*last).max(build.begun);
        }
    }
    uses
}

/// Adds the images that nothing but the cache holds. Putting one together again costs nothing; the
/// steps that it needs are entries of their own.
pub(crate) fn add_images(stores: &Stores, inventory: &mut Inventory, roots: &Roots) {
    for (id, note) in roots.cached() {
        let mut reach = ManifestReach::default();
        roots.add_reach(stores, note.manifest, &mut reach);
        let objects = holdings::objects_of(stores, inventory, &reach);
        let created = note.facts.as_ref().and_then(|facts| facts.created);
        inventory.push(HeldEntry {
            entry: CacheEntry {
                created,
                ..entry(
                    id.0.short(),
                    EntryKind::Regular,
                    "image without a name".to_owned(),
                )
            },
            candidate: Candidate {
                last_used: stores.notes.last_used(*id).unwrap_or_default(),
                ..candidate(objects)
            },
            content: EntryContent::Image {
                id: *id,
                manifest: note.manifest,
                spoken_of: reach.blobs,
            },
        });
    }
}

impl Inventory {
    /// Adds the results of steps. Records of one result, under all its keys, are one entry.
    pub(crate) fn add_records(
        &mut self,
        records: Vec<StoredRecord>,
        uses: &HashMap<ActionKey, Timestamp>,
    ) {
        let mut results: BTreeMap<Stack, Vec<StoredRecord>> = BTreeMap::new();
        for mut stored in records {
            let used = stored.keys.iter().filter_map(|key| uses.get(key)).max();
            if let Some(used) = used {
                stored.last_used = stored.last_used.max(*used);
            }
            let stack = match &stored.record {
                Some(record) => Stack {
                    base: record.state.base,
                    layers: record
                        .state
                        .layers
                        .iter()
                        .map(|built| built.layer)
                        .collect(),
                },
                // Damaged: an entry that holds nothing and goes first.
                None => Stack::default(),
            };
            results.entry(stack).or_default().push(stored);
        }
        let first = self.entries.len();
        let index_of: HashMap<Stack, usize> = results
            .keys()
            .enumerate()
            .map(|(index, stack)| (stack.clone(), first + index))
            .collect();
        for (stack, records) in results {
            let held = self.result(&stack, &records, &index_of);
            self.push(held);
        }
        self.spread_use(first);
    }

    /// Returns the entry of a result.
    fn result(
        &mut self,
        stack: &Stack,
        records: &[StoredRecord],
        index_of: &HashMap<Stack, usize>,
    ) -> HeldEntry {
        // Its files belong to it alone.
        let files = records.iter().map(|stored| stored.usage).sum();
        let files = self.ref_counts.add(files);
        let below = (1..stack.layers.len()).rev().find_map(|count| {
            let below = stack.bottom(count);
            Some((*index_of.get(&below)?, count, below))
        });
        let inherited = below.as_ref().map_or(0, |(_, count, _)| *count);
        let sorted = |mut objects: Vec<Object>| {
            objects.sort_unstable();
            objects.dedup();
            objects
        };
        let objects = stack
            .layers
            .iter()
            .flat_map(|id| self.objects_of_layer(*id));
        // The layer that its files lie on belongs to another result.
        let added = stack.layers[inherited..].iter();
        let added = added.flat_map(|id| self.forms_of_layer(*id));
        let whole = records.iter().find_map(|stored| stored.record.as_ref());
        let took = records.iter().filter_map(|stored| stored.record.as_ref());
        let took = took.map(|record| record.took).max().unwrap_or_default();
        let built = whole.and_then(|record| record.state.layers.last());
        HeldEntry {
            entry: CacheEntry {
                created: built.map(|BuiltLayer { created, .. }| *created),
                parents: below.iter().map(|(_, _, below)| below.id()).collect(),
                ..entry(
                    stack.id(),
                    EntryKind::Regular,
                    whole.map_or_else(
                        || "damaged record".to_owned(),
                        |record| describe(&record.receipt),
                    ),
                )
            },
            candidate: Candidate {
                objects: sorted(objects.chain([files]).collect()),
                added: sorted(added.chain([files]).collect()),
                cost: took,
                last_used: records
                    .iter()
                    .map(|stored| stored.last_used)
                    .max()
                    .unwrap_or_default(),
                below: below.map(|(index, _, _)| index),
                eviction: Eviction::Allowed,
            },
            content: EntryContent::Records {
                keys: records
                    .iter()
                    .flat_map(|stored| &stored.keys)
                    .copied()
                    .collect(),
                base: stack.base,
                layers: stack.layers[inherited..].to_vec(),
            },
        }
    }

    /// Counts the use of a result as a use of what it was made from.
    fn spread_use(&mut self, first: usize) {
        let mut newest: Vec<usize> = (first..self.entries.len()).collect();
        newest.sort_by_key(|index| std::cmp::Reverse(self.entries[*index].candidate.last_used));
        for start in newest {
            let used = self.entries[start].candidate.last_used;
            let mut below = self.entries[start].candidate.below;
            // What was used later was met before, with all that is below it.
            while let Some(index) = below
                && self.entries[index].candidate.last_used < used
            {
                self.entries[index].candidate.last_used = used;
                below = self.entries[index].candidate.below;
            }
        }
    }
}

/// A file system as records name it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Stack {
    base: Option<Sha256>,
    layers: Vec<LayerId>,
}

impl Stack {
    fn bottom(&self, count: usize) -> Self {
        Self {
            base: self.base,
            layers: self.layers[..count].to_vec(),
        }
    }

    fn id(&self) -> String {
        let mut encoder = Encoder::new("kiln.entry.1");
        encoder.optional(self.base.as_ref());
        let layers: Vec<Blake3> = self.layers.iter().map(|layer| layer.0).collect();
        encoder.sequence(&layers);
        short(&encoder.finish().hex())
    }
}
