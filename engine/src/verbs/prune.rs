//! Taking entries out of the cache: choosing what goes, and sweeping it.

use std::time::Duration;

use kiln_cache::{Demand, DiskUsage, Eviction, EvictionReason, Limits, Patience, Trash, evict};
use kiln_oci::Timestamp;

use crate::Error;
use crate::storage::entry::{CacheEntry, EntrySharing, Usability};
use crate::storage::roots::UnnamedImages;
use crate::storage::{disk, inventory, sweep};
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

/// What happens if other kilns let nobody collect: those that have just begun, or only look.
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
    /// What entries hold that are left, and neither image nor container does.
    pub left: DiskUsage,
}

/// For how long a collection that nobody waits for waits itself for kilns that let nobody collect.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Takes entries out of the cache. Their names are gone when this returns; their bytes are by
/// [`empty_trash`]. What other kilns use stays. None if others let nobody collect and are not waited
/// for, or collect themselves.
///
/// # Errors
/// When the state directory cannot be read or written. What went before the failure stays gone,
/// and what is left is whole.
pub fn prune_cache(
    stores: &Stores,
    request: &PruneRequest<'_>,
    turn: &PruneTurn<'_>,
) -> Result<Option<Pruned>, Error> {
    let locking = |error| Error::environment("cannot lock the state directory", error);
    let patience = match turn {
        PruneTurn::Wait(waiting) => Patience::Endless(waiting),
        PruneTurn::Skip => Patience::Limited(LONGEST_WAIT),
    };
    let begun = stores.store.begin_collection(&patience).map_err(locking)?;
    let Some(collection) = begun else {
        return Ok(None);
    };
    let now = Timestamp::now();
    let (mut inventory, _) = inventory::inventory(stores, request.unnamed)?;
    let in_use = collection.in_use().map_err(locking)?;
    for held in &mut inventory.entries {
        if held.is_in_use(&in_use) {
            held.entry.usability = Usability::InUse;
        }
        let passes = match (request.extent, held.entry.sharing) {
            _ if held.entry.usability == Usability::InUse => false,
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
    let chosen = evict(&mut inventory.ref_counts, &candidates, &demand, now);
    let swept = sweep::sweep(stores, &collection, &mut inventory, &chosen, now)?;
    tracing::debug!(
        command = request.command,
        entries = inventory.entries.len(),
        chosen = chosen.len(),
        gone = swept.entries.len(),
        "collected"
    );
    Ok(Some(Pruned {
        entries: swept
            .entries
            .iter()
            .map(|index| inventory.entries[*index].entry.clone())
            .collect(),
        freed_bytes: swept.freed.bytes,
        left: inventory.ref_counts.cached(),
    }))
}

/// Deletes what was taken out of the cache.
pub fn empty_trash(stores: &Stores) {
    Trash::new(&stores.store).empty();
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
