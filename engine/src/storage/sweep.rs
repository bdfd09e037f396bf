//! Sweeping: entries that were chosen go, and everything that no entry, image or container holds then.
//!
//! Names go first and bytes last, so that a kiln which is killed leaves garbage and nothing else. It is
//! done in short strokes, each of which looks first at what other kilns use by now.

use std::collections::HashSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::{Duration, Instant};

use kiln_cache::{
    ActionKey, Collection, DiskUsage, EvictionReason, InUse, Leased, Object, Tombstones, Trash,
    remove_free_claims,
};
use kiln_oci::{Sha256, Timestamp};
use kiln_tree::LayerId;

use super::holdings::{EntryContent, Inventory};
use crate::Error;
use crate::images::names_error;
use crate::stores::Stores;

/// How long others wait for a stroke that meets nothing slow.
const STROKE: Duration = Duration::from_millis(10);

/// What went.
#[derive(Debug, Default)]
pub(crate) struct Swept {
    /// Indexes of the entries, in the order in which they were given up.
    pub(crate) entries: Vec<usize>,
    /// What comes back.
    pub(crate) freed: DiskUsage,
}

/// Something that nobody holds.
#[derive(Clone, Copy, Debug)]
enum Free {
    Layer(LayerId),
    Description(LayerId),
    Blob(Sha256),
}

impl Free {
    fn leased(self) -> Leased {
        match self {
            Self::Layer(id) | Self::Description(id) => Leased::Layer(id),
            Self::Blob(digest) => Leased::Blob(digest),
        }
    }
}

/// Removes the entries that were chosen and are not in use, and everything that is free then.
pub(crate) fn sweep(
    stores: &Stores,
    collection: &Collection<'_>,
    inventory: &mut Inventory,
    chosen: &[(usize, EvictionReason)],
    now: Timestamp,
) -> Result<Swept, Error> {
    let failed = |error: io::Error| Error::environment("cannot remove from the cache", error);
    bury(stores, inventory, chosen, now);
    let trash = Trash::new(&stores.store);
    let mut swept = Swept::default();
    // Entries that are wanted again since they were chosen. With one stays what it was made from,
    // which comes later.
    let mut wanted: HashSet<usize> = HashSet::new();
    in_strokes(collection, chosen, |in_use, (index, _)| {
        let held = &inventory.entries[*index];
        if wanted.contains(index) || held.is_in_use(in_use) {
            wanted.extend(held.candidate.below);
            for object in &held.candidate.objects {
                inventory.ref_counts.hold(*object);
            }
            return Ok(());
        }
        remove_entry(stores, &held.content, &trash)?;
        swept.entries.push(*index);
        Ok(())
    })
    .map_err(failed)?;
    let is_free = |object: Object| inventory.ref_counts.is_free(object);
    if inventory.blobs.values().any(|object| is_free(*object)) {
        stores
            .assembled
            .retain(|manifest| {
                let object = inventory.blobs.get(&manifest);
                // One that is not known is new.
                object.is_none_or(|object| !is_free(*object))
            })
            .map_err(failed)?;
    }
    // No name leads to what follows any more.
    let layers = inventory
        .layers
        .iter()
        .map(|(id, o)| (Free::Layer(*id), *o));
    let described = inventory.described.iter();
    let described = described.map(|(id, object)| (Free::Description(*id), *object));
    let blobs = inventory.blobs.iter().map(|(d, o)| (Free::Blob(*d), *o));
    let mut free: Vec<(Free, Object)> = layers
        .chain(described)
        .chain(blobs)
        .filter(|(_, object)| is_free(*object))
        .collect();
    // A layer goes before the one that its files lie on, and before its blobs.
    let donors: HashSet<LayerId> = inventory.below.values().copied().collect();
    free.sort_by_key(|(what, _)| match what {
        Free::Layer(id) => u8::from(donors.contains(id)),
        Free::Description(_) => 2,
        Free::Blob(_) => 3,
    });
    let mut freed = DiskUsage::default();
    let mut spared = HashSet::new();
    in_strokes(collection, &free, |in_use, (what, object)| {
        let is_spared = in_use.contains(&what.leased())
            || matches!(what, Free::Layer(id) if spared.contains(id));
        if is_spared {
            if let Free::Layer(id) = what {
                // With it stays what its files lie on.
                spared.extend(inventory.below.get(id).copied());
            }
            return Ok(());
        }
        remove_free(stores, *what, &trash)?;
        freed += inventory.ref_counts.usage(*object);
        Ok(())
    })
    .map_err(failed)?;
    // So is what entries were themselves: records, directories.
    let objects = inventory
        .layers
        .values()
        .chain(inventory.described.values());
    let common: HashSet<&Object> = objects.chain(inventory.blobs.values()).collect();
    let entries = swept.entries.iter().map(|index| &inventory.entries[*index]);
    let own = entries.flat_map(|held| &held.candidate.added);
    let own = own.filter(|object| !common.contains(object));
    swept.freed = freed + own.map(|object| inventory.ref_counts.usage(*object)).sum();
    sweep_hints(stores, collection, inventory, &swept.entries).map_err(failed)?;
    remove_free_claims(&stores.store).map_err(failed)?;
    Ok(swept)
}

/// Writes down why records go. A full disk has no room for reasons, and is why the user prunes.
fn bury(
    stores: &Stores,
    inventory: &Inventory,
    chosen: &[(usize, EvictionReason)],
    now: Timestamp,
) {
    let mut buried: Vec<(ActionKey, EvictionReason)> = Vec::new();
    for (index, reason) in chosen {
        if let EntryContent::Records { keys, .. } = &inventory.entries[*index].content {
            buried.extend(keys.iter().map(|key| (*key, reason.clone())));
        }
    }
    let _ = Tombstones::new(&stores.store).add(buried, now);
}

/// Has `act` deal with everything, a few at a time.
fn in_strokes<T>(
    collection: &Collection<'_>,
    things: &[T],
    mut act: impl FnMut(&InUse, &T) -> io::Result<()>,
) -> io::Result<()> {
    let mut rest = things;
    while !rest.is_empty() {
        rest = collection.remove(|in_use| {
            let begun = Instant::now();
            let mut rest = rest;
            while let Some((first, others)) = rest.split_first()
                && begun.elapsed() < STROKE
            {
                act(in_use, first)?;
                rest = others;
            }
            Ok(rest)
        })?;
    }
    Ok(())
}

/// Removes what makes an entry findable.
fn remove_entry(stores: &Stores, content: &EntryContent, trash: &Trash) -> io::Result<()> {
    match content {
        EntryContent::Records { keys, .. } => {
            for key in keys {
                stores.actions.remove(*key)?;
            }
        }
        EntryContent::Image { id, .. } => {
            stores.notes.remove(*id)?;
        }
        EntryContent::Base { pins, .. } => {
            for pin in pins {
                stores
                    .pins
                    .remove(pin)
                    .map_err(|error| io::Error::other(names_error(error)))?;
            }
        }
        EntryContent::Download { path, .. } | EntryContent::Tree { path, .. } => {
            trash.discard(path)?;
        }
    }
    Ok(())
}

fn remove_free(stores: &Stores, what: Free, trash: &Trash) -> io::Result<()> {
    match what {
        Free::Layer(id) => stores.layers.discard(id, trash).map_err(io::Error::other),
        Free::Description(id) => stores
            .layers
            .forget_description(id)
            .map_err(io::Error::other),
        Free::Blob(digest) => trash.discard(&stores.blobs.path(digest)).map(drop),
    }
}

/// Removes notes about where blobs can be found that no manifest or layer names any more.
fn sweep_hints(
    stores: &Stores,
    collection: &Collection<'_>,
    inventory: &Inventory,
    gone: &[usize],
) -> io::Result<()> {
    let gone: HashSet<usize> = gone.iter().copied().collect();
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
    let is_idle =
        |digest: &str| Sha256::from_hex(digest).is_ok_and(|digest| !spoken_of.contains(&digest));
    let files = stores.store.spread_files("blobs/sha256")?.into_iter();
    let hints: Vec<_> = files
        .filter_map(|(path, name)| {
            let digest = name
                .strip_suffix(".sources")
                .filter(|digest| is_idle(digest))?;
            Some((Sha256::from_hex(digest).ok()?, path))
        })
        .collect();
    in_strokes(collection, &hints, |in_use, (digest, path)| {
        if in_use.contains(&Leased::Blob(*digest)) {
            return Ok(());
        }
        remove(path)
    })
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
