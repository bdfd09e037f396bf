//! Choosing what goes, and sweeping it.

use std::collections::HashSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use kiln_cache::{ActionKey, Demand, Eviction, EvictionReason, Limits, Tombstones, Trash, evict};
use kiln_oci::{Sha256, Timestamp};

use crate::Error;
use crate::storage::entry::{CacheEntry, EntrySharing};
use crate::storage::holdings::{EntryContent, Inventory};
use crate::storage::roots::{Roots, UnnamedImages};
use crate::storage::{disk, inventory};
use crate::stores::Stores;

/// What is asked to go.
#[derive(Clone, Copy)]
#[expect(
    missing_debug_implementations,
    reason = "a function has nothing to show"
)]
pub struct PruneRequest<'a> {
    /// Which entries may go at all.
    pub extent: PruneExtent,
    /// Of those, the ones that pass.
    pub select: &'a (dyn Fn(&CacheEntry) -> bool + Sync),
    /// How much may stay; nothing if no limit is given.
    pub limits: Option<Limits>,
    /// What becomes of images whose last name moved on.
    pub unnamed: UnnamedImages,
    /// The command that asks, for tombstones.
    pub command: &'static str,
}

/// Which entries may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PruneExtent {
    /// None: only what is left of images and entries that went.
    Leftovers,
    /// Those whose bytes no image or container holds too.
    Private,
    /// All that no kiln works with.
    Everything,
}

/// What happens if other kilns work on the state directory.
#[expect(
    missing_debug_implementations,
    reason = "a function has nothing to show"
)]
pub enum PruneTurn<'a> {
    /// They go first; the function is called when there are any.
    Wait(&'a dyn Fn()),
    /// Nothing happens.
    Skip,
}

/// What went.
#[derive(Clone, Debug, Default)]
pub struct Pruned {
    /// The entries, in the order in which they were given up.
    pub entries: Vec<CacheEntry>,
    /// Bytes that come back.
    pub freed_bytes: u64,
}

/// Takes entries out of the cache. Their names are gone when this returns; their bytes are by
/// [`empty_trash`]. None if others work on the state directory and are not waited for.
///
/// # Errors
/// When the state directory cannot be read or written. What went before the failure stays gone,
/// and what is left is whole.
pub fn prune_cache(
    stores: &Stores,
    request: &PruneRequest<'_>,
    turn: &PruneTurn<'_>,
) -> Result<Option<Pruned>, Error> {
    let mut result = Err(Error::Cancelled);
    let act = || {
        result = prune_alone(stores, request);
        Ok(())
    };
    let locked = match turn {
        PruneTurn::Wait(waiting) => stores.store.exclusively_at_last(waiting, act).map(Some),
        PruneTurn::Skip => stores.store.exclusively(act),
    };
    let locked =
        locked.map_err(|error| Error::environment("cannot lock the state directory", error))?;
    match locked {
        Some(()) => result.map(Some),
        None => Ok(None),
    }
}

/// Deletes what was taken out of the cache.
pub fn empty_trash(stores: &Stores) {
    Trash::new(&stores.store).empty();
}

fn prune_alone(stores: &Stores, request: &PruneRequest<'_>) -> Result<Pruned, Error> {
    let now = Timestamp::now();
    let mut inventory = inventory::inventory(stores, &Roots::read(stores, request.unnamed)?)?;
    for held in &mut inventory.entries {
        let passes = match (request.extent, held.entry.sharing) {
            (PruneExtent::Leftovers, _) | (PruneExtent::Private, EntrySharing::Shared) => false,
            (PruneExtent::Private, EntrySharing::Private) | (PruneExtent::Everything, _) => {
                (request.select)(&held.entry)
            }
        };
        if !passes {
            held.candidate.eviction = Eviction::Refused;
        }
    }
    let demand = match request.limits {
        None => Demand::Everything(EvictionReason::Asked(request.command)),
        Some(limits) => Demand::Beyond {
            limits,
            free: disk::disk(stores)?.free,
        },
    };
    let candidates: Vec<_> = inventory
        .entries
        .iter()
        .map(|held| held.candidate.clone())
        .collect();
    let gone = evict(&mut inventory.ref_counts, &candidates, &demand, now);
    sweep(stores, &inventory, &gone, now)?;
    tracing::debug!(
        command = request.command,
        entries = inventory.entries.len(),
        gone = gone.len(),
        "collected"
    );
    Ok(Pruned {
        entries: gone
            .iter()
            .map(|(index, _)| inventory.entries[*index].entry.clone())
            .collect(),
        freed_bytes: inventory.ref_counts.free().bytes,
    })
}

/// Removes entries and everything that no entry, image or container holds then.
fn sweep(
    stores: &Stores,
    inventory: &Inventory,
    gone: &[(usize, EvictionReason)],
    now: Timestamp,
) -> Result<(), Error> {
    let failed = |error: io::Error| Error::environment("cannot remove from the cache", error);
    let mut buried: Vec<(ActionKey, EvictionReason)> = Vec::new();
    for (index, reason) in gone {
        if let EntryContent::Records { keys, .. } = &inventory.entries[*index].content {
            buried.extend(keys.iter().map(|key| (*key, reason.clone())));
        }
    }
    let keys: Vec<ActionKey> = buried.iter().map(|(key, _)| *key).collect();
    // A full disk has no room for reasons, and is why the user prunes.
    let _ = Tombstones::new(&stores.store).add(buried, now);
    for key in keys {
        stores.actions.remove(key).map_err(failed)?;
    }
    let trash = Trash::new(&stores.store);
    for (index, _) in gone {
        match &inventory.entries[*index].content {
            EntryContent::Records { .. } => {}
            EntryContent::Image { id, .. } => {
                stores.notes.remove(*id).map_err(failed)?;
            }
            EntryContent::Base { pins, .. } => {
                for pin in pins {
                    stores
                        .pins
                        .remove(pin)
                        .map_err(crate::images::names_error)?;
                }
            }
            EntryContent::Download(path) | EntryContent::Tree(path) => {
                trash.discard(path).map_err(failed)?;
            }
        }
    }
    let is_free = |object| inventory.ref_counts.is_free(object);
    stores
        .assembled
        .retain(|manifest| {
            let object = inventory.blobs.get(&manifest);
            object.is_some_and(|object| !is_free(*object))
        })
        .map_err(failed)?;
    // No name leads to what follows any more.
    for (id, object) in &inventory.layers {
        if is_free(*object) {
            stores.layers.discard(*id, &trash).map_err(|error| {
                Error::environment("cannot remove a layer from the cache", error)
            })?;
        }
    }
    for (id, object) in &inventory.described {
        if is_free(*object) {
            stores.layers.forget_description(*id).map_err(|error| {
                Error::environment("cannot remove a layer from the cache", error)
            })?;
        }
    }
    for (digest, object) in &inventory.blobs {
        if is_free(*object) {
            trash.discard(&stores.blobs.path(*digest)).map_err(failed)?;
        }
    }
    sweep_hints(stores, inventory, gone).map_err(failed)?;
    // No other kiln holds a lock while this kiln is alone.
    for (path, _) in stores.store.spread_files("locks").map_err(failed)? {
        remove(&path).map_err(failed)?;
    }
    Ok(())
}

/// Removes notes about where blobs can be found that no manifest or layer names any more.
fn sweep_hints(
    stores: &Stores,
    inventory: &Inventory,
    gone: &[(usize, EvictionReason)],
) -> io::Result<()> {
    let gone: HashSet<usize> = gone.iter().map(|(index, _)| *index).collect();
    let mut spoken_of: HashSet<Sha256> = inventory.spoken_of.clone();
    for (index, held) in inventory.entries.iter().enumerate() {
        if let EntryContent::Base { spoken_of: of, .. } | EntryContent::Image { spoken_of: of, .. } =
            &held.content
            && !gone.contains(&index)
        {
            spoken_of.extend(of);
        }
    }
    for (id, object) in inventory.layers.iter().chain(&inventory.described) {
        if !inventory.ref_counts.is_free(*object) {
            spoken_of.extend(inventory.packed_as(*id));
        }
    }
    for (path, name) in stores.store.spread_files("blobs/sha256")? {
        let Some(digest) = name.strip_suffix(".sources") else {
            continue;
        };
        if Sha256::from_hex(digest).is_ok_and(|digest| !spoken_of.contains(&digest)) {
            remove(&path)?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl PruneRequest<'static> {
    /// Returns a request for what is left of images and entries that went, and nothing else.
    #[must_use]
    pub fn leftovers(command: &'static str) -> Self {
        Self {
            extent: PruneExtent::Leftovers,
            select: &|_| false,
            limits: None,
            unnamed: UnnamedImages::AreCache,
            command,
        }
    }
}
