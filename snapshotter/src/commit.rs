//! Changes of a step, made into a layer.
//!
//! overlayfs's upper directory is nearly the diff already: this reads it once, drops what only
//! looks like a change, and renames it to where layers live. Dropped are
//!
//! * files that were copied up and are what they were (opened for writing, say),
//! * directories that were copied up for such files,
//! * whiteouts and opaque marks that hide nothing: overlayfs marks new directories to save itself
//!   look-ups, and a layer must not depend on that,
//! * mount points that the sandbox made, and the new time of the directory it made them in,
//! * sockets, which images cannot hold.
//!
//! Where layers are copied instead of stacked, the whole root is compared with what it was, and
//! what changed is copied: the kernel tells whether a process still has files of an overlay open;
//! of a plain directory it does not.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use kiln_cache::WorkDir;
use kiln_files::GuestPath;
use kiln_oci::Timestamp;
use kiln_tree::{Entry, NodeKind, Tree, TreeBuilder};
use rustix::fs::{AtFlags, OFlags, fremovexattr, unlinkat};

use crate::build_error::{BuildError, reading};
use crate::builder::FileContent;
use crate::disk::{self, Root};
use crate::error::LayerError;
use crate::layer::{Layer, LayerStore};
use crate::metadata::Metadata;
use crate::owners::MappedIds;
use crate::publish::UnpublishedFiles;
use crate::scan::{self, ScannedKind, ScannedNode};
use crate::usage;
use crate::view::ParentView;

/// The content of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holds {
    /// Changes, in overlayfs form.
    Changes,
    /// Everything, changed or not.
    Everything,
}

/// Makes a layer of `directory`, which lies in `work` and is moved away if it holds changes.
pub(crate) fn commit(
    layers: &LayerStore,
    directory: &Path,
    holds: Holds,
    parent: &ParentView,
    stubs: &[GuestPath],
    work: &WorkDir,
) -> Result<Layer, BuildError> {
    // Most steps that change nothing end here.
    let is_empty = fs::read_dir(directory)
        .map_err(LayerError::at(directory))?
        .next()
        .is_none();
    if is_empty && (holds == Holds::Changes || parent.layers().is_empty()) {
        return Ok(layers.empty()?);
    }
    let root = Root::open(directory).map_err(LayerError::at(directory))?;
    let mut nodes = scan::scan(&root, layers.store().stop())?;
    if holds == Holds::Everything {
        add_whiteouts(&mut nodes, parent);
    }
    let changes = Changes::find(&mut nodes, parent, stubs);
    let kept = nodes.iter().zip(&changes.kept);
    for (node, _) in kept.clone().filter(|(_, kept)| **kept) {
        // A file that a kiln with more ids made shows the overflow id as its owner.
        MappedIds::of_this_process().check((node.uid, node.gid), || node.path.clone())?;
    }
    let tree = index(kept.filter_map(|(node, kept)| kept.then_some(node)));
    if tree.is_empty() {
        return Ok(layers.empty()?);
    }
    if holds == Holds::Everything {
        return copy(layers, &root, &tree);
    }
    changes.clean(&nodes, &root)?;
    disk::open_to_all(directory).map_err(LayerError::at(directory))?;
    let files = UnpublishedFiles::whole(directory, usage::of_files(&root, &tree));
    Ok(layers.publish(tree, &files, work)?)
}

/// Makes a layer of copies of what is in a directory, which was read into `tree`.
fn copy(layers: &LayerStore, root: &Root, tree: &Tree) -> Result<Layer, BuildError> {
    let builder = layers.builder()?;
    for entry in tree.iter() {
        let path = entry.guest_path();
        let NodeKind::File { size, hash } = entry.kind else {
            builder.add_entry(&path, &entry, || unreachable!("it has no content"))?;
            continue;
        };
        let file = root.read(&path).map_err(reading(&path))?;
        let copied = builder.add_file(&path, &Metadata::of(&entry), FileContent::File(&file))?;
        if (copied.size_bytes, copied.hash) != (size, hash) {
            let why = io::Error::other("a process outside this step is writing to it");
            return Err(reading(&path)(why));
        }
    }
    builder.finish()
}

/// Returns the index of nodes that stand in the order of a walk. What images cannot hold is left
/// out.
pub(crate) fn index<'a>(nodes: impl Iterator<Item = &'a ScannedNode>) -> Tree {
    let mut builder = TreeBuilder::new();
    let mut first_names = HashMap::new();
    for node in nodes {
        let Some(mut kind) = node.index_kind() else {
            continue;
        };
        if let Some(inode) = node.shared {
            let first: &GuestPath = first_names.entry(inode).or_insert(&node.path);
            if *first != node.path {
                kind = NodeKind::HardLink {
                    target: first.as_bytes(),
                };
            }
        }
        builder.push(&entry(node, kind));
    }
    builder.finish()
}

fn entry<'a>(node: &'a ScannedNode, kind: NodeKind<'a>) -> Entry<'a> {
    let whiteout = kind == NodeKind::Whiteout;
    let metadata = |value| if whiteout { 0 } else { value };
    Entry {
        path: node.path.as_bytes(),
        kind,
        mode: match kind {
            NodeKind::Whiteout => 0,
            NodeKind::Symlink { .. } => 0o777,
            _ => node.mode,
        },
        uid: metadata(node.uid),
        gid: metadata(node.gid),
        mtime: match kind {
            NodeKind::Whiteout => Timestamp::EPOCH,
            _ => node.mtime,
        },
        xattrs: node.xattrs.as_xattrs(),
    }
}

/// Returns what a path was before the step. Indexes that were made before times were whole seconds
/// are read as if they had been.
fn before<'a>(parent: &'a ParentView, path: &GuestPath) -> Option<Entry<'a>> {
    parent.get(path).map(|entry| Entry {
        mtime: entry.mtime.whole_seconds(),
        ..entry
    })
}

/// Says whether the disk knows a change of time that is too small for an index. Otherwise it would
/// depend on where a second ends whether something that was written again as it was is a change.
///
/// What overlayfs copies up has the time of the original, to the nanosecond; times that programs
/// set are whole seconds.
fn is_written_anew(node: &ScannedNode, parent: &ParentView) -> bool {
    let original = || {
        let located = parent.find(&node.path)?;
        let path = parent.host_path(&located).ok()?;
        Some(fs::symlink_metadata(path).ok()?.mtime_nsec())
    };
    node.nanoseconds != 0 && original().is_some_and(|original| original != node.nanoseconds)
}

/// Which nodes are changes.
struct Changes {
    /// A flag for each node.
    kept: Vec<bool>,
    /// Directories that lose an opaque mark on disk.
    unmarked: Vec<usize>,
}

impl Changes {
    /// Compares nodes with what the layers below have, and gives nodes what the disk cannot hold.
    fn find(nodes: &mut [ScannedNode], parent: &ParentView, stubs: &[GuestPath]) -> Self {
        let owners = MappedIds::of_this_process();
        let stubs: HashSet<&GuestPath> = stubs.iter().collect();
        let mut changes = Self {
            kept: vec![true; nodes.len()],
            unmarked: Vec::new(),
        };
        let mut kept_inodes = HashSet::new();
        for (node, kept) in nodes.iter_mut().zip(&mut changes.kept) {
            let below = before(parent, &node.path);
            if let Some(below) = &below {
                complete(node, below, owners);
            }
            *kept = match &node.kind {
                ScannedKind::Socket => false,
                ScannedKind::Whiteout => below.is_some(),
                ScannedKind::Directory { .. } => true,
                ScannedKind::File(hashed)
                    if hashed.size_bytes == 0 && below.is_none() && stubs.contains(&node.path) =>
                {
                    false
                }
                _ => {
                    below != node.index_kind().map(|kind| entry(node, kind))
                        || is_written_anew(node, parent)
                }
            };
            if let (true, Some(inode)) = (*kept, node.shared) {
                kept_inodes.insert(inode);
            }
        }
        // A new name for an old file: the old name stays beside it, or they would part.
        let mut inside = HashSet::new();
        let mut stubbed = HashSet::new();
        for (node, kept) in nodes.iter().zip(&mut changes.kept) {
            *kept |= node
                .shared
                .is_some_and(|inode| kept_inodes.contains(&inode));
            if matches!(node.kind, ScannedKind::Directory { .. }) {
                continue;
            }
            let around = node.path.parent().unwrap_or_default();
            if *kept {
                inside.insert(around);
            } else if stubs.contains(&node.path) {
                stubbed.insert(around);
            }
        }
        // From the inside out: a directory is kept for what it holds or for what it is.
        for position in (0..nodes.len()).rev() {
            let node = &mut nodes[position];
            let ScannedKind::Directory { opaque } = node.kind else {
                continue;
            };
            let below = before(parent, &node.path);
            if opaque && !below.is_some_and(|below| below.is_directory()) {
                node.kind = ScannedKind::Directory { opaque: false };
                changes.unmarked.push(position);
            }
            let holds_changes = inside.contains(&node.path);
            let is_changed = match &below {
                None => holds_changes || !stubs.contains(&node.path),
                Some(below) => {
                    let now = node.index_kind().map(|kind| entry(node, kind));
                    if stubbed.contains(&node.path) {
                        // The sandbox, not the step, changed the time.

                        let mtime = node.mtime;
                        now != Some(Entry { mtime, ..*below })
                    } else {
                        now != Some(*below) || is_written_anew(node, parent)
                    }
                }
            };
            let around = node.path.parent().unwrap_or_default();
            changes.kept[position] = holds_changes || is_changed;
            if changes.kept[position] {
                inside.insert(around);
            } else if stubs.contains(&node.path) {
                stubbed.insert(around);
            }
        }
        changes
    }

    /// Makes the disk say what the index will say.
    fn clean(&self, nodes: &[ScannedNode], root: &Root) -> Result<(), LayerError> {
        let mut touched = HashSet::new();
        for (node, kept) in nodes.iter().zip(&self.kept).rev() {
            if !kept {
                remove(node, root)
                    .map_err(LayerError::at(root.path().join(node.path.as_relative())))?;
            }
            // Making a whiteout changes the directory's time just as deleting does.
            if !kept || node.kind == ScannedKind::Whiteout {
                touched.insert(node.path.parent().unwrap_or_default());
            }
        }
        for position in &self.unmarked {
            let path = &nodes[*position].path;
            if self.kept[*position] {
                let unmark = || -> io::Result<()> {
                    let directory = root.open_inside(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
                    Ok(fremovexattr(directory, disk::OPAQUE)?)
                };
                unmark().map_err(LayerError::at(root.path().join(path.as_relative())))?;
            }
        }
        for (node, kept) in nodes.iter().zip(&self.kept) {
            if *kept && touched.contains(&node.path) {
                root.open_inside(&node.path, OFlags::RDONLY | OFlags::DIRECTORY)
                    .and_then(|directory| disk::set_mtime(directory, node.mtime))
                    .map_err(LayerError::at(root.path().join(node.path.as_relative())))?;
            }
        }
        Ok(())
    }
}

/// Gives a node what the disk could not hold of the entry it was copied up from.
fn complete(node: &mut ScannedNode, below: &Entry<'_>, owners: &MappedIds) {
    if owners.may_be_uid(below.uid, node.uid) {
        node.uid = below.uid;
    }
    if owners.may_be_gid(below.gid, node.gid) {
        node.gid = below.gid;
    }
    // Where devices cannot be made, an empty file holds their place.
    if matches!(&node.kind, ScannedKind::File(hashed) if hashed.size_bytes == 0) {
        match below.kind {
            NodeKind::CharDevice(device) => node.kind = ScannedKind::CharDevice(device),
            NodeKind::BlockDevice(device) => node.kind = ScannedKind::BlockDevice(device),
            _ => {}
        }
    }
}

fn remove(node: &ScannedNode, root: &Root) -> io::Result<()> {
    let flags = match node.kind {
        ScannedKind::Directory { .. } => AtFlags::REMOVEDIR,
        _ => AtFlags::empty(),
    };
    Ok(unlinkat(root.parent(&node.path)?, node.path.name(), flags)?)
}

/// Adds a whiteout for everything that was there and is not any more.
fn add_whiteouts(nodes: &mut Vec<ScannedNode>, parent: &ParentView) {
    let present: HashMap<&GuestPath, bool> = nodes
        .iter()
        .map(|node| {
            (
                &node.path,
                matches!(node.kind, ScannedKind::Directory { .. }),
            )
        })
        .collect();
    let mut gone = Vec::new();
    for located in parent.walk(&GuestPath::ROOT) {
        let path = located.entry.guest_path();
        let around = path.parent().unwrap_or_default();
        // What is in something that is gone, or is no directory any more, goes with it.
        let has_directory = around.is_root() || present.get(&around) == Some(&true);
        if has_directory && !present.contains_key(&path) {
            gone.push(path);
        }
    }
    for path in gone {
        nodes.push(ScannedNode {
            path,
            kind: ScannedKind::Whiteout,
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: Timestamp::EPOCH,
            nanoseconds: 0,
            xattrs: kiln_tree::XattrsBuf::default(),
            shared: None,
        });
    }
    nodes.sort_unstable_by(|a, b| a.path.cmp(&b.path));
}
