//! What an inventory says: entries, and what they hold.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use kiln_cache::{ActionKey, Candidate, Eviction, ImageNote, InUse, Leased, Object, RefCounts};
use kiln_oci::{DiffId, ImageId, Sha256, TaggedRef, Timestamp};
use kiln_tree::LayerId;

use crate::storage::entry::{CacheEntry, EntryKind, EntrySharing, Usability};
use crate::storage::reach::ManifestReach;
use crate::stores::Stores;

/// What comes over a network is worth the time that it takes at this many bytes a second.
const NETWORK_BYTES_PER_SECOND: f64 = 1e7;

/// Everything in the state directory that has a size.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    pub(crate) ref_counts: RefCounts,
    pub(crate) entries: Vec<HeldEntry>,
    pub(crate) layers: BTreeMap<LayerId, Object>,
    /// What is written down of layers that other machines made.
    pub(crate) described: BTreeMap<LayerId, Object>,
    pub(crate) blobs: BTreeMap<Sha256, Object>,
    /// Blobs that images speak of, here or not.
    pub(crate) spoken_of: HashSet<Sha256>,
    /// What each layer is known to be packed as, here or not.
    pub(crate) packed: HashMap<LayerId, Vec<Sha256>>,
    pub(crate) by_diff_id: HashMap<DiffId, Vec<LayerId>>,
    /// Layers whose files lie on those of another.
    pub(crate) below: HashMap<LayerId, LayerId>,
}

/// An entry and what it holds.
#[derive(Debug)]
pub(crate) struct HeldEntry {
    pub(crate) entry: CacheEntry,
    pub(crate) candidate: Candidate,
    pub(crate) content: EntryContent,
}

/// What an entry is on disk besides layers and blobs.
#[derive(Clone, Debug)]
pub(crate) enum EntryContent {
    /// Records of one result, under all its keys.
    Records {
        /// The keys.
        keys: Vec<ActionKey>,
        /// The image at the bottom.
        base: Option<Sha256>,
        /// The layers that the entry below does not have.
        layers: Vec<LayerId>,
    },
    /// An image that a build made and whose last name moved on.
    Image {
        /// Its id.
        id: ImageId,
        /// What is noted of it.
        note: ImageNote,
        /// What it is made of, here or not.
        spoken_of: HashSet<Sha256>,
    },
    /// A base image.
    Base {
        /// Its manifest.
        manifest: Sha256,
        /// The names that builds resolved to it.
        pins: Vec<TaggedRef>,
        /// What it is made of, here or not.
        spoken_of: HashSet<Sha256>,
    },
    /// What a URL stood for.
    Download {
        /// The note.
        path: PathBuf,
        /// What was downloaded.
        blob: Option<Sha256>,
    },
    /// A directory or file that belongs to this entry alone.
    Tree {
        /// Where it is.
        path: PathBuf,
        /// Where it is in the state directory.
        name: String,
    },
}

impl HeldEntry {
    /// Says whether a kiln uses the entry itself. That one uses something that it has in common with
    /// others does not keep it.
    pub(crate) fn is_in_use(&self, in_use: &InUse) -> bool {
        let is_blob = |digest: &Sha256| in_use.contains(&Leased::Blob(*digest));
        match &self.content {
            EntryContent::Records { layers, .. } => {
                layers.iter().any(|id| in_use.contains(&Leased::Layer(*id)))
            }
            EntryContent::Image { note, .. } => is_blob(&note.manifest),
            EntryContent::Base { manifest, .. } => is_blob(manifest),
            EntryContent::Download { blob, .. } => blob.as_ref().is_some_and(is_blob),
            EntryContent::Tree { name, .. } => in_use.contains(&Leased::Tree(name.clone())),
        }
    }
}

/// Returns what is here of what manifests lead to.
pub(crate) fn objects_of(
    stores: &Stores,
    inventory: &Inventory,
    reach: &ManifestReach,
) -> Vec<Object> {
    let mut objects: Vec<Object> = reach
        .blobs
        .iter()
        .filter_map(|digest| inventory.blobs.get(digest).copied())
        .collect();
    for diff_id in &reach.diff_ids {
        match inventory.by_diff_id.get(diff_id) {
            Some(known) => {
                let known = known.iter().flat_map(|id| inventory.objects_of_layer(*id));
                objects.extend(known);
            }
            // Facts may be lost; then names lead to it.
            None => {
                if let Some(layer) = stores.layers.by_diff_id(*diff_id) {
                    objects.extend(inventory.objects_of_layer(layer.id()));
                }
            }
        }
    }
    objects.sort_unstable();
    objects.dedup();
    objects
}

impl Inventory {
    /// Returns what a layer cannot do without: its forms, and the layer that its files lie on.
    pub(crate) fn objects_of_layer(&self, id: LayerId) -> impl Iterator<Item = Object> {
        let below = self.below.get(&id);
        let below = below.and_then(|below| self.layers.get(below)).copied();
        self.forms_of_layer(id).chain(below)
    }

    /// Returns a layer, what describes it and its packed forms, as far as they are here.
    pub(crate) fn forms_of_layer(&self, id: LayerId) -> impl Iterator<Item = Object> {
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

    /// Adds an entry and lets it hold its objects.
    pub(crate) fn push(&mut self, held: HeldEntry) {
        for object in &held.candidate.objects {
            self.ref_counts.hold(*object);
        }
        self.entries.push(held);
    }

    /// Completes the entries with what is known when all are there.
    pub(crate) fn settle(&mut self) {
        for held in &mut self.entries {
            let HeldEntry {
                entry,
                candidate,
                content,
            } = held;
            entry.size_bytes = self.ref_counts.usage_of(&candidate.added).bytes;
            entry.last_used = candidate.last_used;
            if !matches!(
                content,
                EntryContent::Records { .. } | EntryContent::Image { .. }
            ) {
                #[expect(clippy::cast_precision_loss, reason = "an estimate")]
                let seconds = entry.size_bytes as f64 / NETWORK_BYTES_PER_SECOND;
                candidate.cost = Duration::from_secs_f64(seconds);
            }
            entry.cost = candidate.cost;
            // An image shares its base with others; what names it is its own.
            if !matches!(content, EntryContent::Image { .. })
                && candidate
                    .added
                    .iter()
                    .any(|object| self.ref_counts.is_rooted(*object))
            {
                entry.sharing = EntrySharing::Shared;
            }
            if entry.usability == Usability::InUse {
                candidate.eviction = Eviction::Refused;
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
        sharing: EntrySharing::Private,
        usability: Usability::Idle,
    }
}

pub(crate) fn candidate(objects: Vec<Object>) -> Candidate {
    Candidate {
        added: objects.clone(),
        objects,
        cost: Duration::ZERO,
        last_used: Timestamp::EPOCH,
        below: None,
        eviction: Eviction::Allowed,
    }
}

pub(crate) fn short(name: &str) -> String {
    name.chars().take(12).collect()
}
