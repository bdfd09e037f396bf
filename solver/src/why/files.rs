//! Which files of a copy differ: two layers compared, and what differs called as the copy reads it.
//!
//! The layer that a copy made last time and the one it made now, or would make, list every file that
//! it copied, with its digest. Where a file of the layer comes from, the selection says; where a deleted one
//! came from, it can be said if there is only one place.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use kiln_cache::{ActionRecord, LayerStack};
use kiln_files::{GuestPath, compare_paths};
use kiln_oci::Timestamp;
use kiln_parser::{glob_match, has_wildcards};
use kiln_tree::{Entry, NodeKind, Tree, TreeBuilder};

use super::now::Now;
use crate::copy::{self, CopyOwner, Placement, SelectedSource};
use crate::deps::Deps;
use crate::files::{Files, NoFiles};
use crate::graph::{Archives, CopyLayout, CopyOp, CopyPart, FileSource};
use crate::reason::{ChangedFile, FileDifference};
use crate::step_trees::{LocalStack, Sources};

/// Files that are named; the others are counted.
const NAMED: usize = 10;

/// Returns the first files that differ, and how many more do. None if that cannot be told any
/// more.
pub(super) fn differ(
    copy: &CopyOp,
    record: &ActionRecord,
    now: &Now<'_>,
    deps: &Deps<'_>,
) -> Option<(Vec<ChangedFile>, usize)> {
    let tree = |state: &LayerStack| {
        let layer = deps.layers.layer(state.top()?.layer)?;
        layer.tree().ok()
    };
    let old = tree(&record.state)?;
    let new = match &now.states[now.id.index()] {
        Some(state) => tree(state)?,
        None => Arc::new(foreseen(copy, now, deps)?),
    };
    let found = compare(copy, &old, &new);
    let states = copy.parts.iter().filter_map(|part| match part.source {
        FileSource::Step(step) => Some((step, now.states[step.index()].clone()?)),
        FileSource::Context(_) | FileSource::Nothing => None,
    });
    let states = states.collect();
    let sources = Sources::new(deps.layer_loader(), deps.contexts, &states).ok()?;
    let origins = Origins::new(copy, &sources)?;
    let named = found.iter().take(NAMED).map(|difference| ChangedFile {
        change: difference.change,
        path: origins.name(difference),
    });
    Some((named.collect(), found.len().saturating_sub(NAMED)))
}

/// Returns what the layer of a copy from contexts will hold; none if that cannot be told without
/// making it.
fn foreseen(copy: &CopyOp, now: &Now<'_>, deps: &Deps<'_>) -> Option<Tree> {
    let is_plain = |part: &CopyPart| {
        matches!(part.source, FileSource::Context(_)) && part.archives == Archives::Keep
    };
    if !copy.parts.iter().all(is_plain) {
        return None;
    }
    let parent = now.graph.step(now.id).parent;
    let parent = parent.map(|parent| now.states[parent.index()].clone());
    let parent = parent.unwrap_or_else(|| Some(LayerStack::default()))?;
    let is_here =
        parent.base().is_none_or(|base| deps.bases.are_here(base)) && deps.layers.has_all(&parent);
    // Nothing is fetched to tell which files changed.
    let below = if is_here && !copy.link {
        Some(LocalStack::new(deps.layer_loader(), &parent).ok()?)
    } else {
        None
    };
    let below: &dyn Files = match &below {
        Some(below) => below,
        None => &NoFiles,
    };
    let sources = Sources::new(deps.layer_loader(), deps.contexts, &HashMap::new()).ok()?;
    let mut placement = Placement::new(
        below,
        &NoFiles,
        CopyOwner::Source,
        copy.mode.as_ref(),
        Timestamp::EPOCH,
    );
    for part in &copy.parts {
        let files = sources.files(part.source);
        placement.turn_to(files);
        for selection in &copy::select(files, copy, part).ok()? {
            placement.selection(copy, selection).ok()?;
        }
    }
    for (name, content) in &copy.inline {
        placement.inline(copy, name, content).ok()?;
    }
    let mut tree = TreeBuilder::new();
    for (_, placed) in placement.into_entries().iter() {
        tree.push(&placed.node);
    }
    Some(tree.finish())
}

/// A path of the layer at which two layers differ.
struct Difference<'a> {
    change: FileDifference,
    path: &'a [u8],
    /// What is there now.
    now: Option<NodeKind<'a>>,
}

/// Returns where two layers of the same copy differ, in the order of a walk. Directories count only
/// if nothing else differs: their files tell more.
fn compare<'a>(copy: &CopyOp, old: &'a Tree, new: &'a Tree) -> Vec<Difference<'a>> {
    let mut found = Vec::new();
    let mut directories = Vec::new();
    let mut note = |change, entry: Entry<'a>, now| {
        let difference = Difference {
            change,
            path: entry.path,
            now,
        };
        if entry.is_directory() {
            directories.push(difference);
        } else {
            found.push(difference);
        }
    };
    let (mut before, mut after) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let order = match (before.peek(), after.peek()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(before), Some(after)) => compare_paths(before.path, after.path),
        };
        let was = before.next_if(|_| order != Ordering::Greater);
        let is = after.next_if(|_| order != Ordering::Less);
        match (was, is) {
            (Some(was), Some(is)) => {
                if let Some(change) = change(copy, (old, was), (new, is)) {
                    note(change, is, Some(content(new, is)));
                }
            }
            (Some(was), None) => note(FileDifference::Deleted, was, None),
            (None, Some(is)) => note(FileDifference::Added, is, Some(content(new, is))),
            (None, None) => break,
        }
    }
    if found.is_empty() { directories } else { found }
}

/// Says how a file that a copy found differs; none if it is the same. Times do not count, and
/// neither does what the copy sets itself.
fn change(
    copy: &CopyOp,
    (old, was): (&Tree, Entry<'_>),
    (new, is): (&Tree, Entry<'_>),
) -> Option<FileDifference> {
    let sets_owner = copy.owner.is_some();
    let sets_mode = copy.mode.is_some();
    let same_but_mode = content(old, was) == content(new, is)
        && (sets_owner || (was.uid, was.gid) == (is.uid, is.gid))
        && was.xattrs == is.xattrs;
    if !same_but_mode {
        Some(FileDifference::Changed)
    } else if sets_mode || was.mode == is.mode {
        None
    } else {
        Some(FileDifference::Mode {
            before: u32::from(was.mode),
            now: u32::from(is.mode),
        })
    }
}

/// Returns what a name stands for, whether it is the first of its file or not.
fn content<'a>(tree: &'a Tree, entry: Entry<'a>) -> NodeKind<'a> {
    match entry.kind {
        NodeKind::HardLink { target } => tree.get(target).map_or(entry.kind, |first| first.kind),
        kind => kind,
    }
}

/// Where the files of a copy come from.
struct Origins<'a> {
    copy: &'a CopyOp,
    parts: Vec<(&'a CopyPart, &'a dyn Files, Vec<SelectedSource<'a>>)>,
}

impl<'a> Origins<'a> {
    fn new(copy: &'a CopyOp, sources: &'a Sources<'_>) -> Option<Self> {
        let parts = copy.parts.iter().map(|part| {
            let files = sources.files(part.source);
            Some((part, files, copy::select(files, copy, part).ok()?))
        });
        Some(Self {
            copy,
            parts: parts.collect::<Option<_>>()?,
        })
    }

    /// Names the source of a difference; if that cannot be told, its place in the image.
    fn name(&self, difference: &Difference<'_>) -> String {
        let known = match difference.now {
            Some(kind) => self.source_of(difference.path, kind),
            None => self.source_before(difference.path),
        };
        known.unwrap_or_else(|| format!("/{}", String::from_utf8_lossy(difference.path)))
    }

    /// Returns the source that what is at a path now was copied from: the last one that fits.
    fn source_of(&self, path: &[u8], kind: NodeKind<'_>) -> Option<String> {
        let inside = self.inside(path)?;
        let copied_from = self.parts.iter().rev().find_map(|(part, files, selected)| {
            let candidates = selected.iter().rev().flat_map(|selection| {
                let exact = !selection.is_directory();
                let path = if exact {
                    let fits = inside.is_root() || inside.as_bytes() == selection.name;
                    fits.then(|| selection.path.clone())
                } else {
                    Some(selection.path.join(inside.as_bytes()))
                };
                path.into_iter()
            });
            let is_it = |candidate: &GuestPath| {
                let entry = files.get(candidate.as_bytes());
                let entry = entry.map(|entry| crate::files::follow_hard_link(*files, entry));
                entry.is_some_and(|entry| same_kind(entry.kind, kind))
            };
            Some((part.source, candidates.into_iter().find(is_it)?))
        });
        copied_from.map(|(source, path)| shown(source, &path))
    }

    /// Returns the source of what was at a path, if there is only one that it can have been.
    fn source_before(&self, path: &[u8]) -> Option<String> {
        let inside = self.inside(path)?;
        let mut candidates: Vec<String> = Vec::new();
        for (part, files, selected) in &self.parts {
            let mut add = |path: GuestPath| {
                let name = shown(part.source, &path);
                if files.get(path.as_bytes()).is_none() && !candidates.contains(&name) {
                    candidates.push(name);
                }
            };
            for selection in selected {
                if selection.is_directory() {
                    add(selection.path.join(inside.as_bytes()));
                }
            }
            for pattern in part.paths.iter().filter(|path| has_wildcards(path)) {
                let (directory, pattern) = pattern.rsplit_once('/').unwrap_or(("", pattern));
                let name = String::from_utf8_lossy(inside.name());
                let fits = inside.components().count() == 1
                    && !has_wildcards(directory)
                    && glob_match(pattern, &name).unwrap_or(false);
                if fits && self.copy.layout == CopyLayout::Contents {
                    add(GuestPath::new(directory).join(inside.name()));
                }
            }
        }
        match &candidates[..] {
            [only] => Some(only.clone()),
            _ => None,
        }
    }

    /// Returns a path of the layer as seen from the destination.
    fn inside(&self, path: &[u8]) -> Option<GuestPath> {
        GuestPath::from_clean(path)?.strip_prefix(&self.copy.destination)
    }
}

/// Says whether a source's node can have become a layer's.
fn same_kind(source: NodeKind<'_>, layer: NodeKind<'_>) -> bool {
    match (source, layer) {
        (NodeKind::Directory { .. }, NodeKind::Directory { .. }) => true,
        (source, layer) => source == layer,
    }
}

/// Returns a path as the Dockerfile would have it: relative in a context, absolute elsewhere.
fn shown(source: FileSource, path: &GuestPath) -> String {
    match source {
        FileSource::Context(_) => String::from_utf8_lossy(path.as_bytes()).into_owned(),
        FileSource::Step(_) | FileSource::Nothing => path.to_string(),
    }
}
