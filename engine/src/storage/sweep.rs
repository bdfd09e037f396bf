//! Sweeping: entries that were chosen go, and everything that no entry, image or container holds then.
//!
//! Names go first and bytes last, so that a kiln which is killed leaves garbage and nothing else. It is
//! done in short strokes, each of which looks first at what other kilns use by now.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::time::{Duration, Instant};

use kiln_cache::{
    ActionKey, Collection, DiskUsage, EvictionReason, InUse, Leased, Object, Tombstones, Trash,
    remove_free_claims,
};
use kiln_files::unless_gone;
use kiln_oci::{Sha256, Timestamp};
use kiln_tree::LayerId;

use super::holdings::{self, EntryContent, Inventory};
use super::reach::{self, ManifestReach};
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
    /// An index, a manifest or a config: a blob that says what belongs together.
    Document(Sha256),
    Layer(LayerId),
    Description(LayerId),
    Blob(Sha256),
}

/// A sweep in progress.
struct Sweeper<'a> {
    stores: &'a Stores,
    collection: &'a Collection<'a>,
    inventory: &'a mut Inventory,
    trash: Trash,
    /// What others were found to use, and therefore holds what it needs.
    seen: HashSet<Leased>,
    /// What the manifests lead to that they use.
    spoken_of: HashSet<Sha256>,
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
    let mut sweep = Sweeper {
        stores,
        collection,
        inventory,
        trash: Trash::new(&stores.store),
        seen: HashSet::new(),
        spoken_of: HashSet::new(),
    };
    let entries = sweep.remove_entries(chosen).map_err(failed)?;
    sweep.remove_assembled().map_err(failed)?;
    let mut freed = sweep.remove_free().map_err(failed)?;
    freed += sweep.own_usage(&entries);
    sweep.remove_hints(&entries).map_err(failed)?;
    remove_free_claims(&stores.store).map_err(failed)?;
    Ok(Swept { entries, freed })
}

impl Sweeper<'_> {
    /// Removes entries that were chosen; returns those that went.
    fn remove_entries(&mut self, chosen: &[(usize, EvictionReason)]) -> io::Result<Vec<usize>> {
        let mut gone = Vec::new();
        // Entries that are wanted again since they were chosen. With one stays what it was made from,
        // which comes later.
        let mut wanted: HashSet<usize> = HashSet::new();
        self.in_strokes(chosen, |sweep, in_use, (index, _)| {
            let held = &sweep.inventory.entries[*index];
            let stays = wanted.contains(index)
                || held.is_in_use(in_use)
                || !remove_entry(sweep.stores, &held.content, &sweep.trash)?;
            if stays {
                wanted.extend(held.candidate.below);
                for object in &held.candidate.objects {
                    sweep.inventory.ref_counts.hold(*object);
                }
            } else {
                gone.push(*index);
            }
            Ok(())
        })?;
        Ok(gone)
    }

    /// Forgets from what manifests were put together that go.
    fn remove_assembled(&self) -> io::Result<()> {
        let is_free = |object: &Object| self.inventory.ref_counts.is_free(*object);
        if !self.inventory.blobs.values().any(is_free) {
            return Ok(());
        }
        self.stores.assembled.retain(|manifest| {
            let object = self.inventory.blobs.get(&manifest);
            // One that is not known is new.
            object.is_none_or(|object| !is_free(object))
        })
    }

    /// Removes what no entry, image or container holds; returns what comes back.
    fn remove_free(&mut self) -> io::Result<DiskUsage> {
        let free = self.free();
        let mut freed = DiskUsage::default();
        self.in_strokes(&free, |sweep, _, (what, object)| {
            let ref_counts = &sweep.inventory.ref_counts;
            if !ref_counts.is_free(*object) {
                return Ok(());
            }
            let usage = ref_counts.usage(*object);
            remove_free(sweep.stores, *what, &sweep.trash)?;
            freed += usage;
            Ok(())
        })?;
        Ok(freed)
    }

    /// Returns what nobody holds, in the order in which it goes: a manifest before what it leads to,
    /// so that a kiln which still finds it can count on that; a layer before the one that its files
    /// lie on, and before its blobs.
    fn free(&self) -> Vec<(Free, Object)> {
        let Inventory {
            layers,
            described,
            blobs,
            below,
            ref_counts,
            ..
        } = &*self.inventory;
        let donors: HashSet<&LayerId> = below.values().collect();
        let mut free: Vec<(u8, Free, Object)> = Vec::new();
        for (digest, object) in blobs {
            if ref_counts.is_free(*object) {
                let (rank, what) = match reach::document_depth(&self.stores.blobs, *digest) {
                    Some(depth) => (depth, Free::Document(*digest)),
                    None => (u8::MAX, Free::Blob(*digest)),
                };
                free.push((rank, what, *object));
            }
        }
        for (id, object) in layers {
            let is_donor = u8::from(donors.contains(id));
            free.push((u8::MAX - 3 + is_donor, Free::Layer(*id), *object));
        }
        let described = described.iter();
        free.extend(described.map(|(id, object)| (u8::MAX - 1, Free::Description(*id), *object)));
        free.retain(|(_, _, object)| ref_counts.is_free(*object));
        free.sort_by_key(|(rank, _, _)| *rank);
        let free = free.into_iter();
        free.map(|(_, what, object)| (what, object)).collect()
    }

    /// Returns what entries took that are objects of their own: records, directories.
    fn own_usage(&self, entries: &[usize]) -> DiskUsage {
        let inventory = &self.inventory;
        let objects = inventory.layers.values();
        let objects = objects.chain(inventory.described.values());
        let common: HashSet<&Object> = objects.chain(inventory.blobs.values()).collect();
        let entries = entries.iter().map(|index| &inventory.entries[*index]);
        let own = entries.flat_map(|held| &held.candidate.added);
        let own = own.filter(|object| !common.contains(object));
        own.map(|object| inventory.ref_counts.usage(*object)).sum()
    }

    /// Removes notes about where blobs can be found that no manifest or layer names any more.
    fn remove_hints(&mut self, gone: &[usize]) -> io::Result<()> {
        let gone: HashSet<usize> = gone.iter().copied().collect();
        let inventory = &self.inventory;
        let mut spoken_of: HashSet<Sha256> = inventory.spoken_of.clone();
        for (index, held) in inventory.entries.iter().enumerate() {
            if let EntryContent::Base { spoken_of: of, .. }
            | EntryContent::Image { spoken_of: of, .. } = &held.content
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
        let is_idle = |digest: &str| {
            Sha256::from_hex(digest).is_ok_and(|digest| !spoken_of.contains(&digest))
        };
        let files = self.stores.store.spread_files("blobs/sha256")?.into_iter();
        let hints: Vec<_> = files
            .filter_map(|(path, name)| {
                let digest = name
                    .strip_suffix(".sources")
                    .filter(|digest| is_idle(digest))?;
                Some((Sha256::from_hex(digest).ok()?, path))
            })
            .collect();
        self.in_strokes(&hints, |sweep, in_use, (digest, path)| {
            if in_use.contains(&Leased::Blob(*digest)) || sweep.spoken_of.contains(digest) {
                return Ok(());
            }
            unless_gone(fs::remove_file(path))
        })
    }

    /// Has `act` deal with everything, a few at a time.
    fn in_strokes<T>(
        &mut self,
        things: &[T],
        mut act: impl FnMut(&mut Self, &InUse, &T) -> io::Result<()>,
    ) -> io::Result<()> {
        let collection = self.collection;
        let mut rest = things;
        while !rest.is_empty() {
            rest = collection.remove(|in_use| {
                let begun = Instant::now();
                self.spare(in_use);
                let mut rest = rest;
                while let Some((first, others)) = rest.split_first()
                    && begun.elapsed() < STROKE
                {
                    act(self, in_use, first)?;
                    rest = others;
                }
                Ok(rest)
            })?;
        }
        Ok(())
    }

    /// Lets what others have begun to use hold what it needs: a layer the one that its files lie on, a
    /// manifest all that it leads to.
    fn spare(&mut self, in_use: &InUse) {
        for what in in_use.iter() {
            if !self.seen.insert(what.clone()) {
                continue;
            }
            let objects: Vec<Object> = match what {
                Leased::Layer(id) => self.inventory.objects_of_layer(*id).collect(),
                Leased::Blob(digest) => {
                    let mut reach = ManifestReach::default();
                    reach.add(&self.stores.blobs, *digest);
                    let objects = holdings::objects_of(self.stores, self.inventory, &reach);
                    self.spoken_of.extend(reach.blobs);
                    objects
                }
                Leased::Tree(_) => Vec::new(),
            };
            for object in objects {
                self.inventory.ref_counts.hold(object);
            }
        }
    }
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

/// Removes what makes an entry findable. Says whether it did: what means something else by now than
/// when the inventory was taken stays.
fn remove_entry(stores: &Stores, content: &EntryContent, trash: &Trash) -> io::Result<bool> {
    match content {
        EntryContent::Records { keys, .. } => {
            for key in keys {
                stores.actions.remove(*key)?;
            }
        }
        EntryContent::Image { id, note, .. } => {
            if stores.notes.get(*id).is_some_and(|found| found != *note) {
                return Ok(false);
            }
            stores.notes.remove(*id)?;
        }
        EntryContent::Base { pins, manifest, .. } => {
            let failed = |error| io::Error::other(names_error(error));
            for pin in pins {
                if stores.pins.get(pin).map_err(failed)? == Some(*manifest) {
                    stores.pins.remove(pin).map_err(failed)?;
                }
            }
        }
        EntryContent::Download { path, .. } | EntryContent::Tree { path, .. } => {
            trash.discard(path)?;
        }
    }
    Ok(true)
}

fn remove_free(stores: &Stores, what: Free, trash: &Trash) -> io::Result<()> {
    match what {
        Free::Layer(id) => stores.layers.discard(id, trash).map_err(io::Error::other),
        Free::Description(id) => stores
            .layers
            .forget_description(id)
            .map_err(io::Error::other),
        Free::Document(digest) | Free::Blob(digest) => {
            trash.discard(&stores.blobs.path(digest)).map(drop)
        }
    }
}
