//! From a directory on the host to a [`Tree`]: the walk of a build context.
//!
//! One pass by directory descriptors in the order of the index, so the previous index is read in
//! step with it and a directory renamed meanwhile cannot lead the walk elsewhere. Only `getdents64`
//! and `fstatat` touch a file that has not changed, and it is never more than a position in the
//! previous index: when nothing changed, that index is the result. Files that did change are read
//! and hashed afterwards, in parallel.
//!
//! Owners are not recorded: a context is delivered as if root owned it
//! (docs/spec/dockerfile.md 7.3). Sockets cannot be stored in an image; they become empty files.

mod content; // bytes and attributes
mod filter; // which files belong to a context
mod found; // what a walk meets
mod large; // digests of large files
mod walk; // from directory to directory

use std::collections::{BTreeSet, HashMap};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;
use rustix::fs::Mode;

use self::content::read_content;
use self::filter::host_path;
pub use self::filter::{Everything, Filter, Owners, ScanError, Visit};
use self::found::{FoundFile, FoundKind, Met};
use self::walk::{DIRECTORY, Walk};
use crate::StatIndex;
use crate::stat_index::{StatIndexBuilder, covered, merge};
use crate::tree::{Tree, TreeBuilder};
use kiln_files::GuestPath;
use kiln_oci::Timestamp;
use kiln_threads::Stop;

/// The result of a scan.
#[derive(Debug)]
pub struct Scan {
    /// The files of the wanted parts.
    pub tree: Arc<Tree>,
    /// The index for the next scan; none if the previous one still says all.
    pub index: Option<StatIndex>,
    /// How many files had to be read.
    pub files_read: usize,
    /// How many bytes they had.
    pub bytes_read: u64,
}

/// Scans the `wanted` parts of the directory `root`.
///
/// Each wanted path is taken with everything below it; symbolic links on the way are followed
/// inside the root and recorded too. A path that does not exist is not an error here.
///
/// # Errors
/// When a file or directory cannot be read, or `stop` is asked for.
pub fn scan<F: Filter>(
    root: &Path,
    wanted: &[GuestPath],
    filter: &F,
    previous: StatIndex,
    now: Timestamp,
    stop: &Stop,
) -> Result<Scan, ScanError> {
    let fail = |source| ScanError {
        path: root.to_owned(),
        source,
    };
    let directory = rustix::fs::open(root, DIRECTORY, Mode::empty()).map_err(|e| fail(e.into()))?;
    let wanted = follow_links(&directory, wanted);
    let walk = Walk {
        root,
        filter,
        wanted: &wanted,
        previous: &previous,
        now,
    };
    let mut met = walk.run(&directory)?;
    link_names(&mut met, &previous);
    let (files_read, bytes_read) = read_changed(root, &directory, &mut met, stop)?;
    let (tree, index) = assemble(&met, &previous, &wanted);
    Ok(Scan {
        tree,
        index,
        files_read,
        bytes_read,
    })
}

/// Resolves symbolic links among the components of the wanted paths, inside the root, and returns
/// the links themselves and where they lead. More than 40 links, as in the kernel, end the search.
fn follow_links(root: &OwnedFd, wanted: &[GuestPath]) -> Vec<GuestPath> {
    // Long Dockerfiles copy the same again and again.
    let wanted: BTreeSet<&GuestPath> = wanted.iter().collect();
    let mut result = Vec::new();
    for path in wanted {
        let mut rest: Vec<Vec<u8>> = path.components().rev().map(<[u8]>::to_vec).collect();
        let mut reached = GuestPath::ROOT;
        let mut links = 0;
        while let Some(component) = rest.pop() {
            let next = reached.join(&component);
            match rustix::fs::readlinkat(root, next.as_relative(), Vec::new()) {
                Ok(target) if links < 40 => {
                    links += 1;
                    let target = target.into_bytes();
                    if target.first() == Some(&b'/') {
                        reached = GuestPath::ROOT;
                    }
                    result.push(next);
                    let components = target.split(|&b| b == b'/').rev();
                    rest.extend(components.filter(|c| !c.is_empty()).map(<[u8]>::to_vec));
                }
                // Not a link, or nothing there: the path goes on literally.
                _ => reached = next,
            }
        }
        result.push(reached);
    }
    result.sort();
    result.dedup();
    result
}

/// Tells first names of files from further ones, and finds what never has to be read in the
/// previous index.
fn link_names(met: &mut [Met], previous: &StatIndex) {
    let mut first_names: HashMap<(u64, u64), Vec<u8>> = HashMap::new();
    for item in met {
        let Met::New(found) = item else {
            continue;
        };
        if found.has_several_names {
            let file = (found.identity.device, found.identity.inode);
            if let Some(first) = first_names.get(&file) {
                found.kind = FoundKind::HardLink {
                    target: first.clone(),
                };
                found.must_be_read = false;
            } else {
                first_names.insert(file, found.path.clone());
            }
        }
        if let Some(position) = found.unchanged(previous) {
            *item = Met::Known(position);
        }
    }
}

/// Reads what is new or changed, in parallel; returns how many files that were, and their bytes.
fn read_changed(
    root: &Path,
    directory: &OwnedFd,
    met: &mut [Met],
    stop: &Stop,
) -> Result<(usize, u64), ScanError> {
    let mut changed: Vec<&mut FoundFile> = met
        .iter_mut()
        .filter_map(|item| match item {
            Met::New(found) if found.must_be_read => Some(&mut **found),
            _ => None,
        })
        .collect();
    let read = |found: &mut &mut FoundFile| {
        let content =
            read_content(directory.as_fd(), &found.path, stop).map_err(|source| ScanError {
                path: host_path(root, &found.path),
                source,
            })?;
        let bytes = content.size;
        found.fill(content);
        Ok(bytes)
    };
    let bytes: Vec<u64> = match changed.as_mut_slice() {
        // One file needs no threads.
        [] => Vec::new(),
        [only] => vec![read(only)?],
        several => {
            kiln_threads::prepare_pool();
            let all = several.par_iter_mut().map(read);
            all.collect::<Result<_, ScanError>>()?
        }
    };
    Ok((bytes.len(), bytes.iter().sum()))
}

/// Returns the tree of what was met, and the index for the next scan if it differs.
fn assemble(
    met: &[Met],
    previous: &StatIndex,
    wanted: &[GuestPath],
) -> (Arc<Tree>, Option<StatIndex>) {
    let positions = || {
        met.iter().map(|item| match item {
            Met::Known(position) => Some(*position),
            Met::New(_) => None,
        })
    };
    if positions().all(|position| position.is_some()) {
        let covered = covered(previous.tree(), wanted);
        let known = positions().flatten().filter(|position| {
            let after = covered.partition_point(|range| range.end <= *position);
            covered
                .get(after)
                .is_some_and(|range| range.contains(position))
        });
        // Then nothing was deleted or is ignored now, either.
        if known.count() == covered.iter().map(ExactSizeIterator::len).sum::<usize>() {
            if met.len() == previous.tree().len() {
                return (previous.shared_tree(), None);
            }
            let length = previous.tree().as_bytes().len();
            let mut tree = TreeBuilder::with_room(met.len(), length);
            for position in positions().flatten() {
                tree.copy(previous.tree(), position);
            }
            return (Arc::new(tree.finish()), None);
        }
    }
    let mut index = StatIndexBuilder::with_room(met.len(), previous);
    for item in met {
        match item {
            Met::Known(position) => index.copy(previous, *position),
            Met::New(found) => index.push(&found.entry(), &found.identity),
        }
    }
    let index = index.finish();
    let tree = index.shared_tree();
    (tree, Some(merge(previous, index, wanted)))
}

#[cfg(test)]
mod tests;
