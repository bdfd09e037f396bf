//! What the same copy made before: files that are the same now need not be written again.

use kiln_files::GuestPath;
use kiln_snapshotter::{LARGE_FILE, Layer, LayerStore, Metadata};
use kiln_tree::{LayerId, NodeKind};

use super::entries::{Bytes, Entries};

/// Entries. A smaller layer is made whole: a further directory in a stack costs more than some
/// copies.
const FEW: usize = 64;

/// A layer lies on an earlier one as long as it differs in no more than one entry of so many: a
/// chain of edits ends in a layer of its own, which the next ones lie on.
const SHARE: usize = 4;

/// A layer that the same copy made before.
#[derive(Debug, Default)]
pub(crate) struct Earlier(Option<Layer>);

impl Earlier {
    /// Takes a layer; one whose files are not on disk cannot be reused.
    pub(crate) fn new(layer: &Layer) -> Self {
        Self(layer.files().map(|_| layer.clone()))
    }

    /// Returns the layer, if there is one.
    pub(crate) fn layer(&self) -> Option<LayerId> {
        self.0.as_ref().map(Layer::id)
    }

    /// Returns a layer whose files nearly all are files of one with these `entries`, at the same
    /// place, and the entries that it has not; none if there is no such layer, or it has something
    /// that these have not.
    pub(crate) fn below(&self, layers: &LayerStore, entries: &Entries) -> Option<(Layer, Entries)> {
        let earlier = self.0.as_ref()?;
        let below = match earlier.donor() {
            Some(below) => layers.layer(below.id())?,
            None => earlier.clone(),
        };
        let tree = below.tree().ok()?;
        if entries.len() < FEW {
            return None;
        }
        let most = entries.len() / SHARE;
        let mut before = tree.iter().peekable();
        let mut differing = Entries::default();
        for (_, placed) in entries.iter() {
            let is_further_name = matches!(placed.bytes, Bytes::SameAs(_));
            let is_large =
                matches!(placed.node.kind, NodeKind::File { size, .. } if size >= LARGE_FILE);
            let is_same = match before.next_if(|entry| entry.path == placed.node.path) {
                Some(entry) if entry.is_directory() != placed.node.is_directory() => return None,
                Some(entry) => {
                    entry.kind == placed.node.kind
                        && Metadata::of(&entry) == as_kept(&Metadata::of(&placed.node))
                }
                None => false,
            };
            // Names of one file are made together, and large files are digested on their way.
            if is_further_name || (!is_same && is_large) {
                return None;
            }
            if !is_same {
                differing.insert(&placed);
                if differing.len() > most {
                    return None;
                }
            }
        }
        // The layer below has entries that this one has not.
        if before.next().is_some() {
            return None;
        }
        let around: Vec<GuestPath> = differing
            .iter()
            .flat_map(|(_, placed)| placed.node.guest_path().ancestors())
            .collect();
        for directory in around {
            if let Some(placed) = entries.get(&directory) {
                differing.insert(&placed);
            }
        }
        Some((below, differing))
    }
}

/// Layers keep whole seconds.
fn as_kept<'a>(metadata: &Metadata<'a>) -> Metadata<'a> {
    Metadata {
        mtime: metadata.mtime.whole_seconds(),
        ..*metadata
    }
}
