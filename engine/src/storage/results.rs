//! Results of steps, and images made of them, as entries of the cache.

use std::collections::HashMap;

use kiln_cache::{ActionKey, Candidate, Eviction, LayerStack, Object, PartsByStack, StoredRecord};
use kiln_oci::Timestamp;
use kiln_tree::{Blake3, LayerId};

use super::entry::{CacheEntry, EntryKind};
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
                note: note.clone(),
                spoken_of: reach.blobs,
            },
        });
    }
}

impl Inventory {
    /// Adds the results of steps. Records of one result, under all its keys, are one entry.
    pub(crate) fn add_records(
        &mut self,
        records: Vec<StoredRecord<String>>,
        parts: &PartsByStack,
        uses: &HashMap<ActionKey, Timestamp>,
    ) {
        let mut results: Vec<StoredResult> = Vec::new();
        let mut index_of: HashMap<Blake3, usize> = HashMap::new();
        let first = self.entries.len();
        for mut stored in records {
            let used = stored.keys.iter().filter_map(|key| uses.get(key)).max();
            if let Some(used) = used {
                stored.last_used = stored.last_used.max(*used);
            }
            // A damaged one holds nothing, and goes first.
            let stack = stored.summary.as_ref().map(|record| record.state.clone());
            let stack = stack.unwrap_or_default();
            let index = *index_of.entry(stack.files()).or_insert_with(|| {
                results.push(StoredResult {
                    stack,
                    records: Vec::new(),
                });
                first + results.len() - 1
            });
            results[index - first].records.push(stored);
        }
        for result in results {
            let held = self.result(&result, parts, &index_of);
            self.push(held);
        }
        self.spread_use(first);
    }

    /// Returns the entry of a result.
    fn result(
        &mut self,
        StoredResult { stack, records }: &StoredResult,
        parts: &PartsByStack,
        index_of: &HashMap<Blake3, usize>,
    ) -> HeldEntry {
        // Its files belong to it alone.
        let files = records.iter().map(|stored| stored.usage).sum();
        let files = self.ref_counts.add(files);
        // What is further down, the entry below holds, which goes after this one.
        let lower = stack.down().skip(1).take_while(|below| !below.is_empty());
        let below = lower
            .filter_map(|below| Some((*index_of.get(&below.files())?, below)))
            .next();
        let inherited = below.as_ref().map_or(0, |(_, below)| below.len());
        let own = stack.from_top().take(stack.len() - inherited);
        let own: Vec<LayerId> = own.map(|built| built.layer).collect();
        let sorted = |mut objects: Vec<Object>| {
            objects.sort_unstable();
            objects.dedup();
            objects
        };
        let whole = || records.iter().filter_map(|stored| stored.summary.as_ref());
        let parts = whole().flat_map(|record| parts.of(&record.state, inherited));
        let parts: Vec<(usize, Object)> = parts
            .filter_map(|(end, blob)| Some((end, *self.blobs.get(&blob)?)))
            .collect();
        let objects = own.iter().flat_map(|id| self.objects_of_layer(*id));
        let objects = objects.chain(parts.iter().map(|(_, object)| *object));
        // The layer that its files lie on belongs to another result.
        let added = own.iter().flat_map(|id| self.forms_of_layer(*id));
        let new_parts = parts.iter().filter(|(end, _)| *end >= inherited);
        let added = added.chain(new_parts.map(|(_, object)| *object));
        let took = whole().map(|record| record.took).max().unwrap_or_default();
        HeldEntry {
            entry: CacheEntry {
                created: stack.top().map(|built| built.created),
                parents: below.iter().map(|(_, below)| entry_id(below)).collect(),
                ..entry(
                    entry_id(stack),
                    EntryKind::Regular,
                    whole()
                        .next()
                        .map_or_else(|| "damaged record".to_owned(), |record| record.note.clone()),
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
                below: below.map(|(index, _)| index),
                eviction: Eviction::Allowed,
            },
            content: EntryContent::Records {
                keys: records
                    .iter()
                    .flat_map(|stored| &stored.keys)
                    .copied()
                    .collect(),
                base: stack.base(),
                layers: own,
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

/// The records of one result.
#[derive(Debug)]
struct StoredResult {
    stack: LayerStack,
    records: Vec<StoredRecord<String>>,
}

fn entry_id(stack: &LayerStack) -> String {
    short(&stack.files().hex())
}
