//! What is there, how large it is, and who holds it.

use std::io;

use kiln_cache::{DiskUsage, SpreadFile};
use kiln_oci::Sha256;
use kiln_snapshotter::LayerSummary;
use kiln_tree::Tree;

use super::entry::describe;
use super::holdings::Inventory;
use super::reach::ManifestReach;
use super::roots::{Roots, UnnamedImages};
use crate::Error;
use crate::storage::{holdings, results, sources};
use crate::stores::Stores;

/// What the name of a note about a blob ends with.
const SOURCES: &str = ".sources";

/// Takes the inventory: reads a small file for each record, layer and image, and no layer's files.
///
/// Objects are listed before the names that lead to them are read: one that is made meanwhile is not
/// taken for one that nobody names. Also returns what was read of images and containers.
pub(crate) fn inventory(
    stores: &Stores,
    unnamed: UnnamedImages,
) -> Result<(Inventory, Roots), Error> {
    let mut inventory = Inventory::default();
    list_things(stores, &mut inventory)
        .map_err(|error| Error::environment("cannot read the state directory", error))?;
    let roots = Roots::read(stores, unnamed)?;
    mark_roots(stores, &mut inventory, &roots);
    let (records, parts) = stores
        .actions
        .list(describe)
        .map_err(|error| Error::environment("cannot read the records", error))?;
    inventory.add_records(records, &parts, &results::uses_by_builds(stores));
    results::add_images(stores, &mut inventory, &roots);
    sources::add_bases(stores, &mut inventory, &roots)?;
    sources::add_trees(stores, &mut inventory)
        .map_err(|error| Error::environment("cannot read the state directory", error))?;
    inventory.settle();
    Ok((inventory, roots))
}

fn list_things(stores: &Stores, inventory: &mut Inventory) -> io::Result<()> {
    for layer in stores.layers.summaries()? {
        let LayerSummary {
            id,
            facts,
            usage,
            donor,
        } = layer;
        // Each tar has a file that leads to the layer.
        let names = DiskUsage::of_lengths(facts.tars.iter().map(|_| 0));
        let object = inventory.ref_counts.add(usage + names);
        inventory.layers.insert(id, object);
        if let Some(donor) = donor {
            inventory.below.insert(id, donor);
        }
        for tar in &facts.tars {
            inventory
                .by_diff_id
                .entry(tar.diff_id)
                .or_default()
                .push(id);
        }
        let packed = facts.blobs.iter().map(|blob| blob.descriptor.digest);
        inventory.packed.insert(id, packed.collect());
    }
    for (id, path) in stores.layers.list_described()? {
        let object = inventory.ref_counts.add(DiskUsage::of_file(&path)?);
        inventory.described.insert(id, object);
        if let Some(description) = stores.layers.description(id) {
            let blob = description.blob;
            let known = inventory.by_diff_id.entry(blob.diff_id).or_default();
            known.push(id);
            let packed = inventory.packed.entry(id).or_default();
            packed.push(blob.descriptor.digest);
        }
    }
    let mut beside = stores.assembled.count_by_manifest()?;
    let look = |file: &SpreadFile<'_>| {
        let name = file.name();
        let blob = name.strip_suffix(SOURCES).unwrap_or(name);
        // What cannot be looked at was removed meanwhile.
        let (Ok(digest), Ok(look)) = (Sha256::from_hex(blob), file.look()) else {
            return Ok(None);
        };
        Ok(Some((digest, look.usage, blob == name)))
    };
    let mut blobs = stores.store.look_at_spread("blobs/sha256", look)?;
    blobs.retain(|(digest, _, is_blob)| {
        if !is_blob {
            *beside.entry(*digest).or_default() += 1;
        }
        *is_blob
    });
    for (digest, usage, _) in blobs {
        // Small files that go with it.
        let beside = beside.get(&digest).map_or(0, |count| *count);
        let beside = DiskUsage::of_lengths(std::iter::repeat_n(0, beside));
        let object = inventory.ref_counts.add(usage + beside);
        inventory.blobs.insert(digest, object);
    }
    Ok(())
}

/// Marks what images and containers hold.
fn mark_roots(stores: &Stores, inventory: &mut Inventory, roots: &Roots) {
    let mut reach = ManifestReach::default();
    for manifest in &roots.manifests {
        roots.add_reach(stores, *manifest, &mut reach);
    }
    for object in holdings::objects_of(stores, inventory, &reach) {
        inventory.ref_counts.root(object);
    }
    inventory.spoken_of = reach.blobs;
    // Every image may need the empty layer, and it takes next to nothing.
    for id in roots.layers.iter().chain([&Tree::default().layer_id()]) {
        if let Some(object) = inventory.layers.get(id) {
            inventory.ref_counts.root(*object);
        }
    }
}
