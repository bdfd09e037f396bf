//! Which names of a tree are one file.
//!
//! An index calls the first name, in the order of a walk, the file, and every other one a link to
//! it. Archives and copies name them in any order, and a name may have been replaced since, so the
//! disk decides who belongs together.

use std::collections::HashMap;

use kiln_files::GuestPath;
use kiln_threads::Stop;
use kiln_tree::{Entry, NodeKind, Tree, TreeBuilder};

use crate::build_error::BuildError;
use crate::copy;
use crate::disk::Root;

/// One file and its names.
struct LinkGroup {
    /// Positions in the tree, ascending.
    names: Vec<usize>,
    /// The name that knows size and digest.
    file: Option<usize>,
}

/// Returns `tree` with its hard links in the form an index wants.
pub(crate) fn order(tree: &Tree, root: &Root, stop: &Stop) -> Result<Tree, BuildError> {
    let failed = |path: &GuestPath| {
        let path = path.clone();
        move |source| BuildError::Write { path, source }
    };
    let inode = |path: &GuestPath| {
        root.stat(path)
            .map(|stat| stat.st_ino)
            .map_err(failed(path))
    };
    let mut groups: HashMap<u64, LinkGroup> = HashMap::new();
    let add = |groups: &mut HashMap<u64, LinkGroup>, position: usize| -> Result<(), BuildError> {
        let entry = tree.at(position);
        let group = groups
            .entry(inode(&entry.guest_path())?)
            .or_insert(LinkGroup {
                names: Vec::new(),
                file: None,
            });
        group.names.push(position);
        if matches!(entry.kind, NodeKind::File { .. }) {
            group.file = Some(position);
        }
        Ok(())
    };
    for position in 0..tree.len() {
        let NodeKind::HardLink { target } = tree.at(position).kind else {
            continue;
        };
        add(&mut groups, position)?;
        // The target may have been replaced by another file, or be gone.
        if let Ok(target) = tree.position(target)
            && matches!(tree.at(target).kind, NodeKind::File { .. })
        {
            add(&mut groups, target)?;
        }
    }
    let mut leader_of: HashMap<usize, &LinkGroup> = HashMap::new();
    for group in groups.values_mut() {
        group.names.sort_unstable();
        group.names.dedup();
    }
    for group in groups.values() {
        leader_of.extend(group.names.iter().map(|name| (*name, group)));
    }
    let mut ordered = TreeBuilder::new();
    for position in 0..tree.len() {
        let entry = tree.at(position);
        let Some(group) = leader_of.get(&position) else {
            ordered.push(&entry);
            continue;
        };
        let path = entry.guest_path();
        let first = tree.at(group.names[0]);
        let described = tree.at(group.file.unwrap_or(group.names[0]));
        let kind = if position != group.names[0] {
            NodeKind::HardLink { target: first.path }
        } else if let Some(file) = group.file {
            tree.at(file).kind
        } else {
            // Its only name with a digest was replaced.
            let content = root.read(&path).and_then(|file| copy::hash(&file, stop));
            let hashed = content.map_err(failed(&path))?;
            NodeKind::File {
                size: hashed.size_bytes,
                hash: hashed.hash,
            }
        };
        ordered.push(&Entry {
            path: entry.path,
            kind,
            ..described
        });
    }
    Ok(ordered.finish())
}
