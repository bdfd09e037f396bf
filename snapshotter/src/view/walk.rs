//! Walks over stacked indexes: several sorted lists merged into one.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};
use std::ops::Range;

use kiln_files::{GuestPath, compare_paths};
use kiln_tree::{Entry, NodeKind, Tree, TreeBuilder};

use crate::view::{Located, ParentView, is_opaque};

/// Everything below a directory; see [`ParentView::walk`].
#[derive(Debug)]
pub struct ViewWalk<'a> {
    merge: Merge<'a>,
    top: GuestPath,
    /// Layer and first name of files whose first name is not below the directory, and the name
    /// that stands in for it.
    stand_ins: HashMap<(usize, &'a [u8]), &'a [u8]>,
}

impl<'a> ViewWalk<'a> {
    pub(crate) fn new(view: &'a ParentView, top: &GuestPath) -> Self {
        Self {
            merge: Merge::new(view, top),
            top: top.clone(),
            stand_ins: HashMap::new(),
        }
    }
}

impl<'a> Iterator for ViewWalk<'a> {
    type Item = Located<'a>;

    fn next(&mut self) -> Option<Located<'a>> {
        let (layer, entry) = self.merge.next()?;
        let view = self.merge.view;
        let mut located = view.located(layer, entry);
        let NodeKind::HardLink { target } = entry.kind else {
            return Some(located);
        };
        // The first name counts if this walk has passed it: below the directory and not replaced.
        let target_path = GuestPath::from_clean(target).unwrap_or_default();
        let passed = target_path.strip_prefix(&self.top).is_some()
            && view
                .find(&target_path)
                .is_some_and(|found| found.layer == Some(layer));
        let first = if passed {
            target
        } else {
            self.stand_ins.entry((layer, target)).or_insert(entry.path)
        };
        if first != entry.path {
            located.entry.kind = NodeKind::HardLink { target: first };
        }
        Some(located)
    }
}

impl ParentView {
    /// Returns the names in a directory, sorted; none if `path` is not one.
    #[must_use]
    pub fn list(&self, path: &GuestPath) -> Option<Vec<Vec<u8>>> {
        self.get(path)?.is_directory().then(|| {
            children(self, path)
                .map(|child| child.guest_path().name().to_vec())
                .collect()
        })
    }

    /// Returns everything below a directory, itself left out, in the order of a walk. Further names
    /// of a file that was met before are hard links to its first name below that directory.
    #[must_use]
    pub fn walk(&self, directory: &GuestPath) -> ViewWalk<'_> {
        ViewWalk::new(self, directory)
    }

    /// Returns an index of what is at `path` and below, with paths relative to it; none if nothing
    /// is there. Directories carry their own metadata, `path` itself too.
    #[must_use]
    pub fn subtree(&self, path: &GuestPath) -> Option<Tree> {
        let top = self.get(path)?;
        let mut builder = TreeBuilder::new();
        builder.push(&Entry { path: b"", ..top });
        let length = if path.is_root() {
            0
        } else {
            path.as_bytes().len() + 1
        };
        for located in self.walk(path) {
            let entry = located.entry;
            let kind = match entry.kind {
                NodeKind::HardLink { target } => NodeKind::HardLink {
                    target: &target[length..],
                },
                other => other,
            };
            builder.push(&Entry {
                path: &entry.path[length..],
                kind,
                ..entry
            });
        }
        Some(builder.finish())
    }
}

/// Returns the visible entries directly inside `directory`.
pub(crate) fn children<'a>(
    view: &'a ParentView,
    directory: &GuestPath,
) -> impl Iterator<Item = Entry<'a>> {
    let mut merge = Merge::new(view, directory);
    merge.descend = false;
    merge.map(|(_, entry)| entry)
}

/// Merges what the layers have below a directory.
#[derive(Debug)]
struct Merge<'a> {
    view: &'a ParentView,
    heads: BinaryHeap<Head<'a>>,
    /// Directories and the like around the present path, each with the lowest layer that is still
    /// to be seen inside.
    inside: Vec<(&'a [u8], usize)>,
    /// Lowest layer to be seen in the top directory.
    lowest: usize,
    descend: bool,
}

/// The next entry of one layer.
#[derive(Debug)]
struct Head<'a> {
    entry: Entry<'a>,
    layer: usize,
    rest: Range<usize>,
}

impl Ord for Head<'_> {
    /// The heap gives the greatest: the first path, of its layers the topmost.
    fn cmp(&self, other: &Self) -> Ordering {
        compare_paths(other.entry.path, self.entry.path).then(self.layer.cmp(&other.layer))
    }
}

impl PartialOrd for Head<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head<'_> {}

impl<'a> Merge<'a> {
    fn new(view: &'a ParentView, top: &GuestPath) -> Self {
        let lowest = lowest_visible(view, top);
        let mut merge = Self {
            view,
            heads: BinaryHeap::new(),
            inside: Vec::new(),
            lowest,
            descend: true,
        };
        if view.get(top).is_some_and(|entry| entry.is_directory()) {
            for layer in lowest..view.trees().len() {
                let rest = view.trees()[layer].below(top.as_bytes());
                merge.advance(layer, rest);
            }
        }
        merge
    }

    fn advance(&mut self, layer: usize, mut rest: Range<usize>) {
        if let Some(position) = rest.next() {
            let entry = self.view.trees()[layer].at(position);
            self.heads.push(Head { entry, layer, rest });
        }
    }

    /// Takes the next entry off, whether visible or not.
    fn pop(&mut self) -> Option<(usize, Entry<'a>)> {
        let Head { entry, layer, rest } = self.heads.pop()?;
        let rest = if self.descend {
            rest
        } else {
            let below = self.view.trees()[layer].below(entry.path);
            rest.start.max(below.end)..rest.end
        };
        self.advance(layer, rest);
        Some((layer, entry))
    }
}

impl<'a> Iterator for Merge<'a> {
    type Item = (usize, Entry<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (layer, entry) = self.pop()?;
            while self
                .inside
                .last()
                .is_some_and(|(outer, _)| !contains(outer, entry.path))
            {
                self.inside.pop();
            }
            let lowest = self
                .inside
                .last()
                .map_or(self.lowest, |(_, lowest)| *lowest);
            // The same path in the layers below decides how far down its inside goes.
            let mut inside = lowest;
            let mut decided = ends(layer, &entry, &mut inside) || layer < lowest;
            while let Some(head) = self.heads.peek()
                && head.entry.path == entry.path
            {
                let (below, hidden) = self.pop().expect("just seen");
                decided = decided || below < lowest || ends(below, &hidden, &mut inside);
            }
            if layer < lowest {
                continue;
            }
            self.inside.push((entry.path, inside));
            if entry.kind != NodeKind::Whiteout {
                return Some((layer, entry));
            }
        }
    }
}

/// Says whether what a layer has at a path hides the layers below from its inside, and if so sets
/// the lowest layer to be seen there.
fn ends(layer: usize, entry: &Entry<'_>, lowest: &mut usize) -> bool {
    match entry.kind {
        NodeKind::Directory { opaque: false, .. } => false,
        NodeKind::Directory { opaque: true, .. } => {
            *lowest = layer;
            true
        }
        _ => {
            *lowest = layer + 1;
            true
        }
    }
}

fn contains(outer: &[u8], path: &[u8]) -> bool {
    path.len() > outer.len() && path.starts_with(outer) && path[outer.len()] == b'/'
}

/// Returns the lowest layer of which something may be seen in the directory `top`.
fn lowest_visible(view: &ParentView, top: &GuestPath) -> usize {
    let mut around = vec![GuestPath::ROOT];
    around.extend(top.ancestors());
    if !top.is_root() {
        around.push(top.clone());
    }
    for (layer, tree) in view.trees().iter().enumerate().rev() {
        for path in &around {
            match tree.get(path.as_bytes()) {
                _ if is_opaque(tree, path.as_bytes()) => return layer,
                Some(entry) if !entry.is_directory() => return layer + 1,
                None if !path.is_root() => break,
                _ => {}
            }
        }
    }
    0
}
