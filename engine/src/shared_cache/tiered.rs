//! Records of this machine, then those of caches elsewhere.
//!
//! Caches elsewhere are read when the first record is missing here, all at once, and not at all if
//! none is. What is found there is written down here under the key that was asked for, its layers as
//! described only.

use std::collections::HashSet;
use std::sync::{Mutex, OnceLock, PoisonError};

use kiln_cache::{ActionKey, ActionRecord, CacheBackend, CacheError};
use kiln_exporter::{SharedMount, layout_place};
use kiln_oci::Platform;
use kiln_registry::Client;
use kiln_solver::{Reporter, VertexEnd};
use kiln_threads::Task;
use kiln_tree::{Blake3, LayerId};

use super::import::{CacheOrigin, Imported, import};
use crate::error::chain;
use crate::request::CacheSource;
use crate::shared_cache::fetch;
use crate::stores::Stores;

/// The records that one build may use.
#[derive(Debug)]
pub(crate) struct TieredCache<'a> {
    pub(super) stores: &'a Stores,
    pub(super) client: &'a Client,
    sources: &'a [CacheSource],
    platforms: Vec<Platform>,
    pub(super) reporter: &'a Reporter<'a>,
    imported: OnceLock<Vec<Imported>>,
    /// Layers that this build described: what is not described any more could not be fetched.
    described: Mutex<HashSet<LayerId>>,
}

impl<'a> TieredCache<'a> {
    pub(crate) fn new(
        stores: &'a Stores,
        client: &'a Client,
        sources: &'a [CacheSource],
        platforms: &[Platform],
        reporter: &'a Reporter<'a>,
    ) -> Self {
        Self {
            stores,
            client,
            sources,
            platforms: match platforms {
                [] => vec![Platform::host()],
                platforms => platforms.to_vec(),
            },
            reporter,
            imported: OnceLock::new(),
            described: Mutex::default(),
        }
    }

    /// Returns what the caches elsewhere hold, reading them the first time.
    fn imported(&self) -> &[Imported] {
        self.imported.get_or_init(|| {
            std::thread::scope(|scope| {
                let threads: Vec<_> = self
                    .sources
                    .iter()
                    .map(|source| kiln_threads::spawn_or_run(scope, || self.import(source)))
                    .collect();
                threads.into_iter().flat_map(Task::join).collect()
            })
        })
    }

    /// Returns what caches elsewhere hold of a cache mount, and where they are.
    pub(super) fn mounts(&self, key: Blake3) -> impl Iterator<Item = (&SharedMount, &CacheOrigin)> {
        self.imported().iter().filter_map(move |imported| {
            let mut mounts = imported.cache.mounts().iter();
            let mount = mounts.find(|mount| mount.key == key)?;
            Some((mount, &imported.origin))
        })
    }

    fn import(&self, source: &CacheSource) -> Vec<Imported> {
        self.stores.store.admit_collection();
        let shown = format!("importing cache manifest from {source}");
        let vertex = self.reporter.start(&shown);
        let result = import(self.client, source, &self.platforms);
        vertex.end(VertexEnd::Done);
        result.unwrap_or_else(|error| {
            let message = format!("the cache {source} is not used: {}", error.full_message());
            self.reporter.warn(message);
            Vec::new()
        })
    }

    fn find(&self, key: ActionKey) -> Option<ActionRecord> {
        self.imported().iter().find_map(|imported| {
            let (_, mut record) = imported
                .cache
                .record(*imported.records.get(&key)?, &imported.stacks);
            self.describe(imported, &record)?;
            // The key was made here, of what is built here. Under which others it belongs, a cache
            // can only claim, and other builds would believe that.
            record.evidence.clear();
            if let Err(error) = self.stores.actions.put(&[key], &record) {
                // It is asked for again next time.
                self.reporter.warn(chain(&error));
            }
            Some(record)
        })
    }

    /// Writes down what the layers of a record are and where; none if that cannot be told.
    fn describe(&self, imported: &Imported, record: &ActionRecord) -> Option<()> {
        let stores = self.stores;
        let place = match &imported.origin {
            CacheOrigin::Repository(name) => name.repository(),
            CacheOrigin::Layout(directory) => layout_place(directory).ok()?,
        };
        let mut described = self
            .described
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for built in record.state.from_top() {
            if stores.layers.layer(built.layer).is_some() {
                continue;
            }
            if described.contains(&built.layer) {
                if stores.layers.knows(built.layer) {
                    continue;
                } else {
                    return None;
                }
            }
            let layer = &imported.cache.layers()[*imported.layers.get(&built.layer)?];
            let description = layer.description(&imported.image, &place)?;
            fetch::note_place(stores, &description).ok()?;
            stores.layers.describe(built.layer, &description).ok()?;
            described.insert(built.layer);
        }
        Some(())
    }

    /// Says whether the layers of a record are here or can be fetched.
    fn is_whole(&self, record: &ActionRecord) -> bool {
        self.stores.layers.knows_all(&record.state)
    }
}

impl CacheBackend for TieredCache<'_> {
    fn get_many(&self, keys: &[ActionKey]) -> Vec<Option<ActionRecord>> {
        let mut found = self.stores.actions.get_many(keys);
        if self.sources.is_empty() {
            return found;
        }
        for (key, found) in keys.iter().zip(&mut found) {
            if !found.as_ref().is_some_and(|record| self.is_whole(record)) {
                *found = self.find(*key).or(found.take());
            }
        }
        found
    }

    fn put(&self, keys: &[ActionKey], record: &ActionRecord) -> Result<(), CacheError> {
        self.stores.actions.put(keys, record)
    }
}
