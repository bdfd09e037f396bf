//! What is there, how large it is, and who holds it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kiln_cache::{ActionKey, Candidate, DiskUsage, Leaving, Ledger, Thing};
use kiln_containers::ContainerError;
use kiln_oci::{DiffId, ImageRef, Sha256, Timestamp};
use kiln_runtime::Root;
use kiln_tree::{LayerId, Tree};
use rayon::prelude::*;

use super::entry::{CacheEntry, EntryKind, Sharing, Usability};
use super::reach::Reach;
use crate::Error;
use crate::containers::{self, container_error};
use crate::images;
use crate::storage::{results, sources};
use crate::stores::Stores;

/// What comes over a network is worth the time that it takes at this many bytes a second.
const NETWORK_BYTES_PER_SECOND: f64 = 1e7;

/// Everything in the state directory that has a size.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    pub(crate) ledger: Ledger,
    pub(crate) entries: Vec<Held>,
    pub(crate) layers: BTreeMap<LayerId, Thing>,
    /// What is written down of layers that other machines made.
    pub(crate) described: BTreeMap<LayerId, Thing>,
    pub(crate) blobs: BTreeMap<Sha256, Thing>,
    /// Blobs that images speak of, here or not.
    pub(crate) spoken_of: HashSet<Sha256>,
    /// What each layer is known to be packed as, here or not.
    packed: HashMap<LayerId, Vec<Sha256>>,
    by_diff_id: HashMap<DiffId, LayerId>,
    /// Layers whose files lie on those of another.
    below: HashMap<LayerId, LayerId>,
}

/// An entry and what it holds.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) entry: CacheEntry,
    pub(crate) candidate: Candidate,
    pub(crate) content: Content,
}

/// What an entry is on disk besides layers and blobs.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// Records of one result, under all its keys.
    Records {
        /// The keys.
        keys: Vec<ActionKey>,
        /// The image at the bottom.
        base: Option<Sha256>,
    },
    /// A base image.
    Base {
        /// The names that builds resolved to it.
        pins: Vec<ImageRef>,
        /// What it is made of, here or not.
        spoken_of: HashSet<Sha256>,
    },
    /// What a URL stood for.
    Download(PathBuf),
    /// A directory or file that belongs to nobody else.
    Tree(PathBuf),
}

/// Sizes that were measured before, by path.
#[derive(Debug, Default)]
pub(crate) struct Sizes(HashMap<PathBuf, DiskUsage>);

impl Sizes {
    /// Measures whatever was not measured yet: what is large, on all processors.
    pub(crate) fn measure(&mut self, paths: &[PathBuf]) -> io::Result<()> {
        let new: Vec<&PathBuf> = paths
            .iter()
            .filter(|path| !self.0.contains_key(*path))
            .collect();
        kiln_threads::prepare_pool();
        let measured: Vec<DiskUsage> = new
            .par_iter()
            .map(|path| DiskUsage::of(path))
            .collect::<io::Result<_>>()?;
        self.0.extend(new.into_iter().cloned().zip(measured));
        Ok(())
    }

    pub(crate) fn of(&self, path: &Path) -> DiskUsage {
        self.0.get(path).cloned().unwrap_or_default()
    }
}

/// Takes the inventory. `sizes` spares measuring what never changes.
pub(crate) fn inventory(stores: &Stores, sizes: &mut Sizes) -> Result<Inventory, Error> {
    let mut inventory = Inventory::default();
    list_things(stores, &mut inventory, sizes)
        .map_err(|error| Error::environment("cannot read the state directory", &error))?;
    mark_roots(stores, &mut inventory)?;
    let records = stores
        .actions
        .list()
        .map_err(|error| Error::environment("cannot read the records", &error))?;
    inventory.add_records(records, &results::uses_by_builds(stores));
    sources::add_bases(stores, &mut inventory)?;
    sources::add_trees(stores, &mut inventory)
        .map_err(|error| Error::environment("cannot read the state directory", &error))?;
    inventory.settle();
    Ok(inventory)
}

fn list_things(stores: &Stores, inventory: &mut Inventory, sizes: &mut Sizes) -> io::Result<()> {
    let ids = stores.layers.list()?;
    let places: Vec<PathBuf> = ids.iter().map(|id| stores.layers.place(*id)).collect();
    sizes.measure(&places)?;
    for (id, place) in ids.into_iter().zip(&places) {
        let thing = inventory.ledger.add(&sizes.of(place));
        inventory.layers.insert(id, thing);
        if let Some(below) = stores.layers.below_files(id) {
            inventory.below.insert(id, below);
        }
        let facts = stores.layers.known_facts(id);
        for tar in &facts.tars {
            inventory.by_diff_id.insert(tar.diff_id, id);
        }
        let packed = facts.blobs.iter().map(|blob| blob.descriptor.digest);
        inventory.packed.insert(id, packed.collect());
    }
    for (id, path) in stores.layers.list_described()? {
        let thing = inventory.ledger.add(&DiskUsage::of(&path)?);
        inventory.described.insert(id, thing);
        if let Some(description) = stores.layers.description(id) {
            let blob = description.blob;
            inventory.by_diff_id.entry(blob.diff_id).or_insert(id);
            let packed = inventory.packed.entry(id).or_default();
            packed.push(blob.descriptor.digest);
        }
    }
    for (path, name) in stores.store.spread_files("blobs/sha256")? {
        if let Ok(digest) = Sha256::from_hex(&name) {
            let thing = inventory.ledger.add(&DiskUsage::of(&path)?);
            inventory.blobs.insert(digest, thing);
        }
    }
    Ok(())
}

/// Marks what images and containers hold.
fn mark_roots(stores: &Stores, inventory: &mut Inventory) -> Result<(), Error> {
    let mut reach = Reach::default();
    for manifest in rooted_manifests(stores)? {
        reach.add(&stores.blobs, manifest);
    }
    for thing in things_of(stores, inventory, &reach) {
        inventory.ledger.root(thing);
    }
    inventory.spoken_of = reach.blobs;
    for container in containers::containers(stores)?
        .list()
        .map_err(|e| container_error(&e))?
    {
        let spec = match container.spec() {
            // It was removed while we looked.
            Err(ContainerError::NotFound(_)) => continue,
            other => other,
        };
        // What cannot be read might need anything; its owner must say that it does not.
        let spec = spec.map_err(|error| Error::Environment {
            message: format!(
                "cannot tell which layers container {} needs: {}",
                container.id().short(),
                crate::error::chain(&error)
            ),
            hint: Some(format!("kiln rm {}", container.id().short())),
        })?;
        let Root::Layers { lowers, .. } = &spec.job.root else {
            continue;
        };
        for lower in lowers {
            let id = lower.parent().and_then(Path::file_name);
            let id = id.and_then(|name| name.to_str()?.parse().ok());
            if let Some(thing) = id.and_then(|id| inventory.layers.get(&id)) {
                inventory.ledger.root(*thing);
            }
        }
    }
    // Every image may need it, and it takes next to nothing.
    if let Some(thing) = inventory.layers.get(&Tree::default().layer_id()) {
        inventory.ledger.root(*thing);
    }
    Ok(())
}

/// Returns the manifests of all images, named or not.
pub(crate) fn rooted_manifests(stores: &Stores) -> Result<HashSet<Sha256>, Error> {
    let named = images::names(stores)?
        .into_iter()
        .map(|named| named.manifest);
    let ids = stores
        .ids
        .starting_with("")
        .map_err(|error| Error::environment("cannot list the local images", &error))?;
    Ok(named.chain(ids.into_iter().map(|(_, m)| m)).collect())
}

/// Returns what is here of what manifests lead to.
pub(crate) fn things_of(stores: &Stores, inventory: &Inventory, reach: &Reach) -> Vec<Thing> {
    let mut things: Vec<Thing> = reach
        .blobs
        .iter()
        .filter_map(|digest| inventory.blobs.get(digest).copied())
        .collect();
    for diff_id in &reach.diff_ids {
        // Two ways to the same: facts may be lost, and so may names.
        let ids = [
            inventory.by_diff_id.get(diff_id).copied(),
            stores.layers.by_diff_id(*diff_id).map(|layer| layer.id()),
        ];
        for id in ids.into_iter().flatten() {
            things.extend(inventory.things_of_layer(id));
        }
    }
    things.sort_unstable();
    things.dedup();
    things
}

impl Inventory {
    /// Returns what a layer cannot do without: its forms, and the layer that its files lie on.
    pub(crate) fn things_of_layer(&self, id: LayerId) -> impl Iterator<Item = Thing> {
        let below = self.below.get(&id);
        let below = below.and_then(|below| self.layers.get(below)).copied();
        self.forms_of_layer(id).chain(below)
    }

    /// Returns a layer, what describes it and its packed forms, as far as they are here.
    pub(crate) fn forms_of_layer(&self, id: LayerId) -> impl Iterator<Item = Thing> {
        let layer = [self.layers.get(&id), self.described.get(&id)];
        let layer = layer.into_iter().flatten().copied();
        let packed = self.packed.get(&id).into_iter().flatten();
        let packed = packed.filter_map(|digest| self.blobs.get(digest).copied());
        layer.chain(packed)
    }

    /// Returns the blobs that layers are known to be packed as.
    pub(crate) fn packed_as(&self, id: LayerId) -> &[Sha256] {
        self.packed.get(&id).map_or(&[], Vec::as_slice)
    }

    /// Adds an entry and lets it hold its things.
    pub(crate) fn push(&mut self, held: Held) {
        for thing in &held.candidate.things {
            self.ledger.hold(*thing);
        }
        self.entries.push(held);
    }

    /// Completes the entries with what is known when all are there.
    fn settle(&mut self) {
        for held in &mut self.entries {
            let Held {
                entry,
                candidate,
                content,
            } = held;
            entry.size_bytes = candidate
                .own
                .iter()
                .map(|thing| self.ledger.bytes(*thing))
                .sum();
            entry.last_used = candidate.last_used;
            if !matches!(content, Content::Records { .. }) {
                #[expect(clippy::cast_precision_loss, reason = "an estimate")]
                let seconds = entry.size_bytes as f64 / NETWORK_BYTES_PER_SECOND;
                candidate.cost = Duration::from_secs_f64(seconds);
            }
            entry.cost = candidate.cost;
            if candidate
                .own
                .iter()
                .any(|thing| self.ledger.is_rooted(*thing))
            {
                entry.sharing = Sharing::Shared;
            }
            if entry.usability == Usability::InUse {
                candidate.leaving = Leaving::MayNot;
            }
        }
    }
}

pub(crate) fn entry(id: String, kind: EntryKind, description: String) -> CacheEntry {
    CacheEntry {
        id,
        kind,
        description,
        parents: Vec::new(),
        created: None,
        last_used: Timestamp::EPOCH,
        cost: Duration::ZERO,
        size_bytes: 0,
        sharing: Sharing::Private,
        usability: Usability::Idle,
    }
}

pub(crate) fn candidate(things: Vec<Thing>) -> Candidate {
    Candidate {
        own: things.clone(),
        things,
        cost: Duration::ZERO,
        last_used: Timestamp::EPOCH,
        below: None,
        leaving: Leaving::May,
    }
}

pub(crate) fn short(name: &str) -> String {
    name.chars().take(12).collect()
}
