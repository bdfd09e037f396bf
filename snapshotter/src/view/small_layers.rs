//! Where the paths of many small layers on top of a stack are, found without asking each of them.

use std::collections::HashMap;
use std::sync::Arc;

use kiln_tree::{NodeKind, Tree};

/// Entries of a layer that is small.
const SMALL: usize = 64;

/// As many small layers are asked one after the other.
const FEW: usize = 32;

/// The names of the small layers on top of a stack.
#[derive(Clone, Debug, Default)]
pub(super) struct SmallLayers {
    /// The lowest of them.
    from: usize,
    /// What is known of each path; nothing while there are few layers.
    names: HashMap<Box<[u8]>, Tops>,
}

/// The topmost layers in which a path is something.
#[derive(Clone, Copy, Debug, Default)]
struct Tops {
    /// Anything.
    entry: u32,
    /// More than a directory that is there for what is in it.
    explicit: Option<u32>,
    /// What hides everything that lower layers have below it.
    hiding: Option<u32>,
}

/// What a search in the small layers came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LayerSearch {
    /// This layer has an entry that counts.
    At(usize),
    /// This layer hides what is there further down.
    Hidden(usize),
    /// The layers below this one say it.
    Below(usize),
}

impl SmallLayers {
    /// Notes that the last of these layers was put on top.
    pub(super) fn push(&mut self, trees: &[Arc<Tree>]) {
        let Some(last) = trees.last() else {
            return;
        };
        if last.len() > SMALL {
            self.names.clear();
            self.from = trees.len();
        } else if !self.names.is_empty() {
            self.add(trees.len() - 1, last);
        } else if trees.len() - self.from > FEW {
            for (layer, tree) in trees.iter().enumerate().skip(self.from) {
                self.add(layer, tree);
            }
        }
    }

    fn add(&mut self, layer: usize, tree: &Tree) {
        let layer = u32::try_from(layer).expect("layers are few");
        for entry in tree.iter() {
            let tops = self.names.entry(entry.path.into()).or_default();
            tops.entry = layer;
            let is_implied = matches!(entry.kind, NodeKind::Directory { implied: true, .. });
            if !is_implied {
                tops.explicit = Some(layer);
            }
            if !matches!(entry.kind, NodeKind::Directory { opaque: false, .. }) {
                tops.hiding = Some(layer);
            }
        }
    }

    /// Looks for a path.
    pub(super) fn find(&self, path: &[u8], layers: usize) -> LayerSearch {
        if self.names.is_empty() {
            return LayerSearch::Below(layers);
        }
        let entry = self.names.get(path).map(|tops| tops.entry);
        self.topmost(entry, self.hiding(path))
    }

    /// Looks for what a directory is that `layer` has only for what is in it.
    pub(super) fn describe(&self, path: &[u8], layer: usize) -> LayerSearch {
        let hiding = self.hiding(path);
        let explicit = self.names.get(path).and_then(|tops| tops.explicit);
        let is_above = |top: Option<u32>| top.is_some_and(|top| top as usize > layer);
        if self.names.is_empty() || layer < self.from || is_above(hiding) || is_above(explicit) {
            return LayerSearch::Below(layer + 1);
        }
        self.topmost(explicit, hiding)
    }

    fn topmost(&self, found: Option<u32>, hiding: Option<u32>) -> LayerSearch {
        match (found, hiding) {
            (Some(found), hiding) if hiding.is_none_or(|hiding| hiding <= found) => {
                LayerSearch::At(found as usize)
            }
            (_, Some(hiding)) => LayerSearch::Hidden(hiding as usize),
            (_, None) => LayerSearch::Below(self.from),
        }
    }

    /// Returns the topmost layer that hides what lower ones have at `path`, by something above it.
    fn hiding(&self, path: &[u8]) -> Option<u32> {
        if path.is_empty() {
            return None;
        }
        let slashes = (0..path.len()).filter(|&position| path[position] == b'/');
        let above = std::iter::once(0).chain(slashes);
        above
            .filter_map(|end| self.names.get(&path[..end])?.hiding)
            .max()
    }
}

#[cfg(test)]
mod tests {
    use kiln_files::GuestPath;
    use kiln_oci::Timestamp;
    use kiln_tree::TreeBuilder;

    use super::super::stands_in_the_way;
    use super::*;
    use crate::Metadata;

    const PATHS: [&str; 9] = ["", "a", "a/b", "a/b/c", "a/d", "b", "b/a", "b/a/c", "c"];

    /// Returns numbers that look random, the same at every run.
    fn numbers() -> impl FnMut(u64) -> u64 {
        let mut state = 7_u64;
        move |below| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % below
        }
    }

    /// Returns a layer of a few of the paths, whose directories are entries too.
    fn tree(next: &mut impl FnMut(u64) -> u64) -> Tree {
        let mut builder = TreeBuilder::new();
        let metadata = Metadata::root_owned(0o755, Timestamp::EPOCH);
        let mut directories = vec![""];
        for path in PATHS {
            let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            if !directories.contains(&parent) || next(3) > 0 {
                continue;
            }
            let directory = |opaque, implied| NodeKind::Directory { opaque, implied };
            let kind = match next(8) {
                0 if !path.is_empty() => NodeKind::Whiteout,
                1 if !path.is_empty() => NodeKind::Symlink { target: b"x" },
                2 => directory(true, false),
                3 | 4 => directory(false, false),
                _ => directory(false, true),
            };
            if matches!(kind, NodeKind::Directory { .. }) {
                directories.push(path);
            }
            builder.push(&metadata.entry(&GuestPath::new(path), kind));
        }
        builder.finish()
    }

    /// Asks one layer after the other, from `layer` down to `from`.
    fn naive(
        trees: &[Arc<Tree>],
        (path, from, layer): (&str, usize, usize),
        counts: impl Fn(&NodeKind<'_>) -> bool,
    ) -> LayerSearch {
        let guest = GuestPath::new(path);
        for (layer, tree) in trees.iter().enumerate().take(layer + 1).skip(from).rev() {
            if tree
                .get(path.as_bytes())
                .is_some_and(|entry| counts(&entry.kind))
            {
                return LayerSearch::At(layer);
            }
            if stands_in_the_way(tree, &guest) {
                return LayerSearch::Hidden(layer);
            }
        }
        LayerSearch::Below(from)
    }

    #[test]
    fn searches_come_to_what_asking_each_layer_comes_to() {
        let mut next = numbers();
        for round in 0..30 {
            let mut small = SmallLayers::default();
            let mut trees: Vec<Arc<Tree>> = Vec::new();
            let count = 40 + next(40);
            for number in 0..count {
                let is_large = round % 3 == 0 && number == 5;
                let tree = if is_large {
                    let mut builder = TreeBuilder::new();
                    let metadata = Metadata::root_owned(0o644, Timestamp::EPOCH);
                    for file in 0..=SMALL {
                        let path = GuestPath::new(format!("{file:03}"));
                        builder.push(&metadata.entry(&path, NodeKind::Fifo));
                    }
                    builder.finish()
                } else {
                    tree(&mut next)
                };
                trees.push(Arc::new(tree));
                small.push(&trees);
            }
            let from = if round % 3 == 0 { 6 } else { 0 };
            for path in PATHS.into_iter().chain(["a/b/x/y", "x"]) {
                let top = trees.len() - 1;
                let found = small.find(path.as_bytes(), trees.len());
                let is_hidden = |found| match found {
                    // Which one hides it does not matter.
                    LayerSearch::Hidden(_) => LayerSearch::Hidden(0),
                    other => other,
                };
                let expected = naive(&trees, (path, from, top), |_| true);
                assert_eq!(is_hidden(found), is_hidden(expected), "{path:?}");
                for layer in [from, from + 7, top] {
                    let is_explicit = |kind: &NodeKind<'_>| {
                        !matches!(kind, NodeKind::Directory { implied: true, .. })
                    };
                    let found = small.describe(path.as_bytes(), layer);
                    // It may leave the answer to those that are asked one after the other.
                    if found != LayerSearch::Below(layer + 1) {
                        let expected = naive(&trees, (path, from, layer), is_explicit);
                        assert_eq!(is_hidden(found), is_hidden(expected), "{path:?} {layer}");
                    }
                }
            }
        }
    }
}
