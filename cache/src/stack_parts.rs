//! Stacks of layers on disk, in parts that records have in common.
//!
//! The record of a step deep in a Dockerfile would name hundreds of layers, and so would the one after
//! it. So a record names the uppermost layers only, at most [`PART`], and below them a *part*: a blob
//! of [`PART`] layers, which names the part below it. A part ends at a multiple of [`PART`], whichever
//! record it is written for, so that the records of one build come to the same parts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kiln_oci::Sha256;
use kiln_tree::Blake3;
use serde::{Deserialize, Serialize};

use crate::{BlobError, Blobs, BuiltLayer, LayerStack, Store};

/// The most layers in a record, and the layers in a part.
const PART: usize = 32;

/// The upper end of a stack.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct StackFile {
    /// The manifest of the image at the bottom, if this is the lower end too; none for `scratch`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base: Option<Sha256>,
    /// The part below; none if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    below: Option<Sha256>,
    /// The layers, lowest first.
    layers: Vec<BuiltLayer>,
}

/// The parts of stacks in a state directory, and which of them this process has read or written.
#[derive(Clone, Debug)]
pub(crate) struct StackParts {
    blobs: Blobs,
    known: Arc<Mutex<KnownParts>>,
}

#[derive(Debug, Default)]
struct KnownParts {
    stacks: HashMap<Sha256, LayerStack>,
    /// By [`LayerStack::whole`].
    parts: HashMap<Blake3, Sha256>,
}

/// Whether what is read is used, and has to stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PartUse {
    Used,
    LookedAt,
}

impl StackParts {
    pub(crate) fn new(store: &Store) -> Self {
        Self {
            blobs: Blobs::new(store),
            known: Arc::default(),
        }
    }

    /// Returns what a record says of a stack, after writing the parts that are not there.
    pub(crate) fn write(&self, stack: &LayerStack) -> Result<StackFile, BlobError> {
        let Some(end) = highest_part(stack) else {
            return Ok(StackFile {
                base: stack.base(),
                below: None,
                layers: stack.layers(),
            });
        };
        let is_above = |part: &LayerStack| part.len() > end;
        let mut parts = stack.down().skip_while(is_above).step_by(PART);
        // From the highest that is known upwards; at last from the base.
        let mut missing = Vec::new();
        let mut below = parts.find_map(|part| {
            let known = self.known().parts.get(&part.whole()).copied();
            if known.is_none() && !part.is_empty() {
                missing.push(part);
            }
            known
        });
        for part in missing.into_iter().rev() {
            let file = StackFile {
                base: below.is_none().then(|| part.base()).flatten(),
                below,
                layers: uppermost(&part, PART),
            };
            let bytes = serde_json::to_vec(&file).expect("layers are plain data");
            let digest = self.blobs.put(&bytes)?;
            self.known().insert(digest, part);
            below = Some(digest);
        }
        Ok(StackFile {
            base: None,
            below,
            layers: uppermost(stack, stack.len() - end),
        })
    }

    /// Returns the stack that a record speaks of; none if a part of it is not here or damaged.
    pub(crate) fn read(&self, file: &StackFile, part_use: PartUse) -> Option<LayerStack> {
        let mut stack = LayerStack::on(file.base);
        let mut missing: Vec<(Sha256, StackFile)> = Vec::new();
        let mut next = file.below;
        while let Some(digest) = next {
            if let Some(known) = self.known().stacks.get(&digest) {
                stack = known.clone();
                break;
            }
            let part = self.read_part(digest, part_use)?;
            next = part.below;
            stack = LayerStack::on(part.base);
            missing.push((digest, part));
        }
        for (digest, part) in missing.into_iter().rev() {
            stack = stack.with_all(part.layers);
            self.known().insert(digest, stack.clone());
        }
        Some(stack.with_all(file.layers.iter().copied()))
    }

    fn read_part(&self, digest: Sha256, part_use: PartUse) -> Option<StackFile> {
        let bytes = match part_use {
            PartUse::Used => self.blobs.read(digest).ok()?,
            PartUse::LookedAt => std::fs::read(self.blobs.path(digest)).ok()?,
        };
        (Sha256::of(&bytes) == digest).then_some(())?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Returns the parts that were read or written, by the digest of the stack that each ends.
    pub(crate) fn into_parts(self) -> PartsByStack {
        PartsByStack(std::mem::take(&mut self.known().parts))
    }

    fn known(&self) -> MutexGuard<'_, KnownParts> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KnownParts {
    fn insert(&mut self, digest: Sha256, stack: LayerStack) {
        self.parts.insert(stack.whole(), digest);
        self.stacks.insert(digest, stack);
    }
}

/// The blobs that hold lower parts of stacks.
#[derive(Debug, Default)]
pub struct PartsByStack(HashMap<Blake3, Sha256>);

impl PartsByStack {
    /// Returns the blobs that the record of a stack cannot do without, the highest first, each with
    /// the number of layers up to its end. Those that a record of its lowest `below` layers cannot do
    /// without either are left out, but for the highest of them.
    #[must_use]
    pub fn of(&self, stack: &LayerStack, below: usize) -> Vec<(usize, Sha256)> {
        let lowest = (below.saturating_sub(1) / PART * PART).max(1);
        let lower = stack.down().skip(1);
        let ends = lower
            .take_while(|part| part.len() >= lowest)
            .filter(|part| part.len().is_multiple_of(PART));
        ends.filter_map(|part| Some((part.len(), *self.0.get(&part.whole())?)))
            .collect()
    }
}

/// Returns the depth of the highest part below the layers that a record names itself; none if it
/// names them all.
fn highest_part(stack: &LayerStack) -> Option<usize> {
    let end = stack.len().checked_sub(1)? / PART * PART;
    (end > 0).then_some(end)
}

/// Returns the uppermost layers, the lowest first.
fn uppermost(stack: &LayerStack, count: usize) -> Vec<BuiltLayer> {
    let mut layers: Vec<BuiltLayer> = stack.from_top().take(count).collect();
    layers.reverse();
    layers
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_oci::Timestamp;
    use kiln_tree::LayerId;

    fn stack(count: usize) -> LayerStack {
        let built = (0..count).map(|number| BuiltLayer {
            layer: LayerId(Blake3::of(&number.to_le_bytes())),
            created: Timestamp::from_seconds(5),
        });
        LayerStack::on(Some(Sha256::of(b"base"))).with_all(built)
    }

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        (directory, store)
    }

    #[test]
    fn stacks_of_any_depth_read_back() {
        let (_directory, store) = store();
        for depth in [0, 1, 31, 32, 33, 64, 65, 200] {
            let file = StackParts::new(&store).write(&stack(depth)).unwrap();
            assert!(file.layers.len() <= PART);
            let parts = StackParts::new(&store);
            for part_use in [PartUse::LookedAt, PartUse::Used] {
                assert_eq!(parts.read(&file, part_use), Some(stack(depth)), "{depth}");
            }
        }
        // 32, 64, 96, 128, 160, 192: what they have in common is there once.
        assert_eq!(store.spread_files("blobs/sha256").unwrap().len(), 6);
    }

    #[test]
    fn known_parts_are_neither_read_nor_written_again() {
        let (_directory, store) = store();
        let parts = StackParts::new(&store);
        let file = parts.write(&stack(100)).unwrap();
        for (path, _) in store.spread_files("blobs/sha256").unwrap() {
            std::fs::remove_file(path).unwrap();
        }
        assert_eq!(parts.read(&file, PartUse::Used), Some(stack(100)));
        parts.write(&stack(120)).unwrap();
        assert!(store.spread_files("blobs/sha256").unwrap().is_empty());
    }

    #[test]
    fn a_stack_whose_part_is_gone_or_damaged_is_none() {
        let (_directory, store) = store();
        let file = StackParts::new(&store).write(&stack(100)).unwrap();
        let read = |part_use| StackParts::new(&store).read(&file, part_use);
        let (path, _) = store.spread_files("blobs/sha256").unwrap().remove(0);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[1..]).unwrap();
        assert_eq!(read(PartUse::LookedAt), None);
        assert_eq!(read(PartUse::Used), None);
        // It would keep the right one from being written, and is not there any more.
        assert!(!path.exists());
        StackParts::new(&store).write(&stack(100)).unwrap();
        assert_eq!(read(PartUse::Used), Some(stack(100)));
    }

    #[test]
    fn parts_are_found_by_the_stacks_that_they_end() {
        let (_directory, store) = store();
        let parts = StackParts::new(&store);
        parts.write(&stack(100)).unwrap();
        let parts = parts.into_parts();
        for (depth, below, expected) in [
            (100, 0, &[96, 64, 32][..]),
            (100, 32, &[96, 64, 32]),
            (100, 33, &[96, 64, 32]),
            (100, 65, &[96, 64]),
            (100, 96, &[96, 64]),
            (100, 97, &[96]),
            (96, 0, &[64, 32]),
            (96, 95, &[64]),
            (32, 0, &[]),
        ] {
            let ends = parts.of(&stack(depth), below).into_iter();
            let ends: Vec<usize> = ends.map(|(end, _)| end).collect();
            assert_eq!(ends, expected, "{depth} above {below}");
        }
    }
}
