//! What comes from elsewhere or outlives builds, as entries of the cache: bases, downloads,
//! repositories, cache mounts, stat indexes.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use kiln_cache::{Candidate, DiskUsage, MeasuredTrees, Named};
use kiln_oci::{Sha256, TaggedRef, Timestamp};

use super::entry::{CacheEntry, EntryKind, Usability};
use super::holdings::{EntryContent, HeldEntry, Inventory, candidate, entry, short};
use super::reach::ManifestReach;
use super::roots::Roots;
use crate::Error;
use crate::images::names_error;
use crate::shared_cache::mounts::blobs_of_mount;
use crate::storage::holdings;
use crate::stores::Stores;

/// Adds the images that builds resolved names to and that are not local images themselves.
pub(crate) fn add_bases(
    stores: &Stores,
    inventory: &mut Inventory,
    roots: &Roots,
) -> Result<(), Error> {
    let mut bases: BTreeMap<Sha256, (Vec<TaggedRef>, Timestamp)> = BTreeMap::new();
    for Named { name, manifest } in stores.pins.list().map_err(names_error)? {
        bases.entry(manifest).or_default().0.push(name);
    }
    for held in &inventory.entries {
        if let EntryContent::Records {
            base: Some(base), ..
        } = &held.content
        {
            let (_, last_used) = bases.entry(*base).or_default();
            *last_used = (*last_used).max(held.candidate.last_used);
        }
    }
    for (manifest, (pins, last_used)) in bases {
        if roots.manifests.contains(&manifest) || !inventory.blobs.contains_key(&manifest) {
            continue;
        }
        let mut reach = ManifestReach::default();
        roots.add_reach(stores, manifest, &mut reach);
        let objects = holdings::objects_of(stores, inventory, &reach);
        // The platform stands at the end of a pin's tag.
        let name = pins.first().map_or_else(
            || manifest.to_string(),
            |pin| match pin.to_string().rsplit_once("--") {
                Some((name, _)) => name.to_owned(),
                None => pin.to_string(),
            },
        );
        let fetched = modified(&stores.blobs.path(manifest)).unwrap_or_default();
        inventory.push(HeldEntry {
            entry: CacheEntry {
                created: Some(fetched),
                ..entry(
                    manifest.short(),
                    EntryKind::Regular,
                    format!("pulled from {name}"),
                )
            },
            candidate: Candidate {
                last_used: last_used.max(fetched),
                ..candidate(objects)
            },
            content: EntryContent::Base {
                manifest,
                pins,
                spoken_of: reach.blobs,
            },
        });
    }
    Ok(())
}

/// Adds what is kept in directories and files of its own.
pub(crate) fn add_trees(stores: &Stores, inventory: &mut Inventory) -> io::Result<()> {
    for (path, name) in stores.store.spread_files("downloads")? {
        let digest = fs::read(&path)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok())
            .and_then(|json| json["content"].as_str()?.parse::<Sha256>().ok());
        let blob = digest.and_then(|digest| inventory.blobs.get(&digest).copied());
        let note = inventory.ref_counts.add(DiskUsage::of_file(&path)?);
        let used = modified(&path).unwrap_or_default();
        let described = match digest {
            Some(digest) => format!("downloaded {digest}"),
            None => "download".to_owned(),
        };
        inventory.push(HeldEntry {
            entry: CacheEntry {
                created: Some(used),
                ..entry(short(&name), EntryKind::Regular, described)
            },
            candidate: Candidate {
                last_used: used,
                ..candidate(blob.into_iter().chain([note]).collect())
            },
            content: EntryContent::Download { path, blob: digest },
        });
    }
    let mut measured = MeasuredTrees::read(&stores.store);
    let kinds = [
        ("cachemounts", EntryKind::CacheMount, "cache mount"),
        ("git", EntryKind::GitCheckout, "git repository"),
        (
            "contexts",
            EntryKind::LocalSource,
            "state of a build context",
        ),
    ];
    for (directory, kind, words) in kinds {
        let paths = children(&stores.store.path(directory))?;
        for path in paths {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // Beside the repositories lie the keys of servers, which cannot be had again.
            if !name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                continue;
            }
            let (last_used, usability) = match kind {
                EntryKind::CacheMount => cache_mount(&path)?,
                _ => (modified(&path), Usability::Idle),
            };
            let usage = match kind {
                EntryKind::LocalSource => DiskUsage::of_file(&path)?,
                EntryKind::CacheMount if usability == Usability::Idle => {
                    measured.usage(&path, last_used)?
                }
                // It changes, or nobody notes when it was used: a repository is few files.
                _ => DiskUsage::of_tree(&path)?,
            };
            let object = inventory.ref_counts.add(usage);
            let mut objects = vec![object];
            if kind == EntryKind::CacheMount {
                let packed = blobs_of_mount(&path).into_iter();
                objects.extend(packed.filter_map(|digest| inventory.blobs.get(&digest)));
            }
            let mut candidate = candidate(objects);
            candidate.last_used = last_used.unwrap_or_default();
            inventory.push(HeldEntry {
                entry: CacheEntry {
                    created: made(&path),
                    usability,
                    ..entry(short(&name), kind, words.to_owned())
                },
                candidate,
                content: EntryContent::Tree {
                    name: format!("{directory}/{name}"),
                    path: path.clone(),
                },
            });
        }
    }
    // Without it, trees are measured again.
    let _ = measured.save();
    Ok(())
}

/// Returns when a cache mount was taken last, and whether a step has it now.
fn cache_mount(path: &Path) -> io::Result<(Option<Timestamp>, Usability)> {
    let mut last_used = None;
    let mut usability = Usability::Idle;
    // A step that comes meanwhile waits for the gate; it would take a copy that is looked at for one
    // that another step has, and make its own.
    let gate = fs::File::open(path.join("gate")).ok();
    if gate.as_ref().is_some_and(|gate| gate.try_lock().is_err()) {
        usability = Usability::InUse;
    }
    for copy in children(path)? {
        let lock = copy.join("lock");
        last_used = last_used.max(modified(&lock));
        if usability == Usability::InUse {
            continue;
        }
        let is_free = fs::File::open(&lock).is_ok_and(|lock| lock.try_lock().is_ok());
        if lock.exists() && !is_free {
            usability = Usability::InUse;
        }
    }
    Ok((last_used.or_else(|| modified(path)), usability))
}

fn children(directory: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(directory) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

fn modified(path: &Path) -> Option<Timestamp> {
    Some(fs::metadata(path).ok()?.modified().ok()?.into())
}

/// Returns when a file was made, where the file system knows.
fn made(path: &Path) -> Option<Timestamp> {
    Some(fs::metadata(path).ok()?.created().ok()?.into())
}
