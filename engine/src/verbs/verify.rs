//! Reading and hashing everything that is kept, and repairing what is damaged.

use std::collections::{BTreeSet, HashSet};
use std::io::{self};
use std::sync::atomic::{AtomicUsize, Ordering};

use kiln_cache::{EvictionReason, InUse, Leased, Patience, Stay, Tombstones, Trash};
use kiln_containers::ContainerStatus;
use kiln_oci::{DiffId, Sha256, Timestamp};
use kiln_snapshotter::Whiteouts;
use kiln_tree::LayerId;
use rayon::prelude::*;

use crate::Error;
use crate::containers;
use crate::images::KnownImages;
use crate::local_image;
use crate::storage::damage::{self, Damage, DamagedObject, Finding, RepairOutcome};
use crate::storage::roots::layer_of;
use crate::stores::Stores;

/// What happens to what is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// It is made again from what is whole, else discarded.
    Attempt,
    /// Nothing.
    None,
}

/// What verifying came to.
#[derive(Debug, Default)]
pub struct Verification {
    /// How many layers were read.
    pub layers: usize,
    /// How many blobs were read.
    pub blobs: usize,
    /// How many records were read.
    pub records: usize,
    /// What was damaged.
    pub damage: Vec<Damage>,
    /// Images and containers that lack something which is nowhere any more.
    pub lost: Vec<Lost>,
}

/// An image or container that cannot be used any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// `image app:latest`, `container 0123456789ab`.
    pub name: String,
    /// What it lacks.
    pub what: String,
    /// What to do about it.
    pub advice: String,
}

impl Verification {
    /// Says whether everything is whole, now.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let is_left =
            |damage: &Damage| matches!(damage.outcome, RepairOutcome::Left | RepairOutcome::Unread);
        self.lost.is_empty() && !self.damage.iter().any(is_left)
    }
}

/// Reads and hashes all layers, blobs and records, and repairs what is damaged. `progress` is
/// told how many of how many things were read.
///
/// # Errors
/// When the state directory cannot be read or written.
pub fn verify(
    stores: &Stores,
    repair: Repair,
    turn: &dyn Fn(),
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Verification, Error> {
    let failed = |error: io::Error| Error::environment("cannot read the state directory", error);
    let layers = stores.layers.list().map_err(failed)?;
    let blobs: Vec<Sha256> = stores
        .store
        .spread_files("blobs/sha256")
        .map_err(failed)?
        .iter()
        .filter_map(|(_, name)| Sha256::from_hex(name).ok())
        .collect();
    let (records, _) = stores.actions.list(|_| ()).map_err(failed)?;
    let whiteouts = damage::whiteouts(stores).map_err(failed)?;
    let (done, total) = (AtomicUsize::new(0), layers.len() + blobs.len());
    let count = || progress(done.fetch_add(1, Ordering::Relaxed) + 1, total);
    kiln_threads::prepare_pool();
    let of_blobs = blobs.par_iter().filter_map(|digest| {
        let finding = damage::look_at_blob(stores, *digest);
        count();
        Some((DamagedObject::Blob(*digest), finding?))
    });
    let mut found: Vec<(DamagedObject, Finding)> = of_blobs.collect();
    let of_layers = layers.par_iter().filter_map(|id| {
        let finding = damage::look_at_layer(stores, *id, whiteouts);
        count();
        Some((DamagedObject::Layer(*id), finding?))
    });
    found.extend(of_layers.collect::<Vec<_>>());
    let of_records = records
        .iter()
        .filter(|stored| stored.summary.is_none())
        .flat_map(|stored| &stored.keys)
        .map(|key| {
            (
                DamagedObject::Record(*key),
                Finding::Damaged("it is no record, or lacks a part".to_owned()),
            )
        });
    found.extend(of_records);
    let names = [&stores.tags, &stores.pins].into_iter();
    found.extend(names.flat_map(|names| names.damaged()).map(|path| {
        let finding = Finding::Damaged("it does not hold a digest".to_owned());
        (DamagedObject::Name(path), finding)
    }));
    // What could not be read is told, and stays.
    let (damaged, unreadable): (Vec<_>, Vec<_>) = found
        .into_iter()
        .partition(|(_, finding)| matches!(finding, Finding::Damaged(_)));
    let as_found = |outcome| {
        move |(object, finding): (DamagedObject, Finding)| Damage {
            object,
            what: finding.into_text(),
            outcome,
        }
    };
    let damaged = damaged.into_iter().map(as_found(RepairOutcome::Left));
    let mut damage: Vec<Damage> = damaged.collect();
    if repair == Repair::Attempt && !damage.is_empty() {
        let locking = |error| Error::environment("cannot lock the state directory", error);
        let begun = stores
            .store
            .begin_collection(&Patience::Endless(turn))
            .map_err(locking)?;
        let collection = begun.expect("patience is endless");
        let mut result = Ok(());
        collection
            .remove(|in_use| {
                result = repair_all(stores, &mut damage, in_use, whiteouts);
                Ok(())
            })
            .map_err(locking)?;
        result?;
    }
    // A kiln that collected meanwhile took away the names of a layer first, then the layer.
    damage
        .retain(|one| one.outcome != RepairOutcome::Left || !damage::is_gone(stores, &one.object));
    let lost = lost(stores, &damage)?;
    damage.extend(unreadable.into_iter().map(as_found(RepairOutcome::Unread)));
    Ok(Verification {
        layers: layers.len(),
        blobs: blobs.len(),
        records: records.len(),
        lost,
        damage,
    })
}

/// Repairs what can be repaired and discards the rest, unless a kiln uses it. None begins to use
/// anything meanwhile.
fn repair_all(
    stores: &Stores,
    damage: &mut [Damage],
    in_use: &InUse,
    whiteouts: Whiteouts,
) -> Result<(), Error> {
    let failed = |error: io::Error| Error::environment("cannot discard what is damaged", error);
    let trash = Trash::new(&stores.store);
    let of_containers = layers_of_running_containers(stores)?;
    let is_in_use = |object: &DamagedObject| match object {
        DamagedObject::Blob(digest) => in_use.contains(&Leased::Blob(*digest)),
        DamagedObject::Layer(id) => {
            in_use.contains(&Leased::Layer(*id)) || of_containers.contains(id)
        }
        DamagedObject::Record(_) | DamagedObject::Name(_) => false,
    };
    let (mut used, mut idle): (Vec<_>, Vec<_>) = damage
        .iter_mut()
        .partition(|damage| is_in_use(&damage.object));
    for one in &mut used {
        one.what.push_str("; another kiln uses it now");
    }
    let damage = &mut idle;
    // Blobs go first: layers are made again from those that stay.
    for one in damage.iter_mut() {
        let path = match &one.object {
            DamagedObject::Blob(digest) => stores.blobs.path(*digest),
            DamagedObject::Name(path) => path.clone(),
            DamagedObject::Layer(_) | DamagedObject::Record(_) => continue,
        };
        if !damage::is_damaged_indeed(stores, &one.object, whiteouts) {
            continue;
        }
        trash.discard(&path).map_err(failed)?;
        one.outcome = RepairOutcome::Discarded;
    }
    let mut gone = HashSet::new();
    let mut evicted = BTreeSet::new();
    for one in damage.iter_mut() {
        match one.object {
            DamagedObject::Blob(_) | DamagedObject::Name(_) => {}
            DamagedObject::Record(key) => {
                evicted.insert(key);
                one.outcome = RepairOutcome::Discarded;
            }
            DamagedObject::Layer(id) => {
                if damage::is_repaired(stores, id, whiteouts, &trash) {
                    one.outcome = RepairOutcome::Repaired;
                } else if damage::is_damaged_indeed(stores, &one.object, whiteouts) {
                    gone.insert(id);
                    one.outcome = RepairOutcome::Discarded;
                }
            }
        }
    }
    let (records, _) = stores.actions.list(|_| ()).map_err(failed)?;
    for stored in records {
        let state = stored
            .summary
            .map(|record| record.state)
            .unwrap_or_default();
        if !gone.is_empty() && state.from_top().any(|built| gone.contains(&built.layer)) {
            evicted.extend(stored.keys);
        }
    }
    let buried = evicted.iter().map(|key| (*key, EvictionReason::Damage));
    // A full disk has no room for reasons.
    let _ = Tombstones::new(&stores.store).add(buried, Timestamp::now());
    for key in &evicted {
        stores.actions.remove(*key).map_err(failed)?;
    }
    if !gone.is_empty() {
        // An image is not put together again without a look at its layers.
        stores.assembled.retain(|_| false).map_err(failed)?;
    }
    for id in gone {
        stores
            .layers
            .discard(id, &trash)
            .map_err(|error| Error::environment("cannot discard what is damaged", error))?;
    }
    Ok(())
}

/// Returns the layers that processes of containers see now.
fn layers_of_running_containers(stores: &Stores) -> Result<HashSet<LayerId>, Error> {
    let mut layers = HashSet::new();
    for container in containers::containers(stores)?
        .list()
        .map_err(Error::from)?
    {
        let is_running = container
            .state()
            .is_ok_and(|state| state.status == ContainerStatus::Running);
        if let (true, Ok(spec)) = (is_running, container.spec()) {
            let ids = spec.own.layers.iter().filter_map(|lower| layer_of(lower));
            for id in ids {
                layers.insert(id);
                // What its files lie on is seen with it.
                let donor = stores.layers.layer(id).and_then(|layer| layer.donor());
                layers.extend(donor.map(|donor| donor.id()));
            }
        }
    }
    Ok(layers)
}

/// Finds the images and containers that lack something. What was left damaged is as good as
/// missing.
fn lost(stores: &Stores, damage: &[Damage]) -> Result<Vec<Lost>, Error> {
    let bad: HashSet<DamagedObject> = damage
        .iter()
        .filter(|damage| damage.outcome == RepairOutcome::Left)
        .map(|damage| damage.object.clone())
        .collect();
    let has_blob = |digest: Sha256| {
        stores.blobs.contains(digest) && !bad.contains(&DamagedObject::Blob(digest))
    };
    let has_layer =
        |id: LayerId| stores.layers.layer(id).is_some() && !bad.contains(&DamagedObject::Layer(id));
    let has_diff = |diff_id: DiffId| {
        diff_id == DiffId::EMPTY
            || stores
                .layers
                .described_as(diff_id)
                .is_some_and(|(id, _)| stores.layers.knows(id))
            || stores
                .layers
                .by_diff_id(diff_id)
                .is_some_and(|l| has_layer(l.id()))
    };
    let mut lost = Vec::new();
    let known = KnownImages::read(stores)?;
    let names = known.names;
    // An image that is cache goes by itself.
    let notes = known.notes.iter().map(|(_, note)| note);
    let kept = notes.filter(|note| note.stay == Stay::UntilRemoved);
    let manifests: BTreeSet<Sha256> = kept
        .map(|note| note.manifest)
        .chain(names.iter().map(|named| named.manifest))
        .collect();
    for manifest in manifests {
        let name = names.iter().find(|named| named.manifest == manifest);
        let name = name.map_or_else(|| manifest.to_string(), |named| named.name.familiar());
        let what = match has_blob(manifest).then(|| local_image::read(stores, manifest)) {
            None => Some("its manifest".to_owned()),
            Some(Err(_)) => Some("its config".to_owned()),
            Some(Ok(local)) => local
                .images()
                .iter()
                .find(|image| !has_blob(image.id().0))
                .map(|_| "its config".to_owned())
                .or_else(|| {
                    let mut layers = local.images().iter().flat_map(|image| image.layers());
                    let missing = layers.find(|(diff_id, descriptor)| {
                        !has_blob(descriptor.digest)
                            && !has_diff(*diff_id)
                            && kiln_exporter::sources(&stores.blobs, descriptor.digest).is_empty()
                    });
                    missing.map(|(diff_id, _)| format!("layer {diff_id}"))
                }),
        };
        if let Some(what) = what {
            lost.push(Lost {
                advice: format!("build, pull or load {name} again"),
                name: format!("image {name}"),
                what,
            });
        }
    }
    for container in containers::containers(stores)?
        .list()
        .map_err(Error::from)?
    {
        let Ok(spec) = container.spec() else {
            continue;
        };
        let missing = spec.own.layers.iter().find_map(|lower| {
            let id = layer_of(lower)?;
            (!has_layer(id)).then_some(id)
        });
        if let Some(id) = missing {
            let short = container.id().short();
            lost.push(Lost {
                name: format!("container {short}"),
                what: format!("layer {id}"),
                advice: format!("kiln rm {short}, and run its image again"),
            });
        }
    }
    lost.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(lost)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::stores::{StoresOptions, StoresPurpose};

    /// Verifies a store with a damaged blob that another kiln removes as soon as it was looked at,
    /// or does not.
    fn verified(repair: Repair, is_removed: bool) -> Verification {
        let directory = tempfile::tempdir().unwrap();
        let stores = Stores::open(&StoresOptions {
            root: directory.path().to_owned(),
            purpose: StoresPurpose::Look,
            unpack_limit: Default::default(),
        })
        .unwrap();
        let digest = Sha256::of(b"what it should be");
        let path = stores.blobs.path(digest);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "what it is").unwrap();
        let progress = |done: usize, total: usize| {
            if done == total && is_removed {
                fs::remove_file(&path).unwrap();
            }
        };
        verify(&stores, repair, &|| (), &progress).unwrap()
    }

    #[test]
    fn objects_collected_while_they_are_verified_are_not_damaged() {
        for repair in [Repair::Attempt, Repair::None] {
            let gone = verified(repair, true);
            assert_eq!(gone.damage.len(), 0, "{gone:#?}");
            assert!(gone.is_whole());
            assert_eq!(verified(repair, false).damage.len(), 1);
        }
    }
}
