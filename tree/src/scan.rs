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

mod assembly; // the next index in the making
mod content; // bytes and attributes
mod filter; // which files belong to a context
mod found; // files as they are now
mod large; // digests of large files
mod met; // what a walk meets
mod walk; // from directory to directory

use std::collections::{BTreeSet, HashMap};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::Mode;

use self::assembly::{Assembly, Reading};
pub use self::filter::{Everything, Filter, Owners, ScanError, Visit};
use self::found::FoundFile;
use self::met::{Met, MetList};
use self::walk::{DIRECTORY, Walk};
use crate::StatIndex;
use crate::stat_index::{covered, merge};
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
        records: Default::default(),
    };
    let mut met = walk.run(&directory)?;
    let first_names = link_names(&mut met, &previous);
    if let Some(tree) = unchanged(&met, &previous, &wanted) {
        return Ok(Scan {
            tree,
            index: None,
            files_read: 0,
            bytes_read: 0,
        });
    }
    let reading = Reading {
        root,
        directory: &directory,
        stop,
    };
    let mut assembly = Assembly::new(reading, &previous);
    for mut item in met.iter() {
        if let Met::New(found) = &mut item {
            first_names.link(found);
        }
        assembly.add(item)?;
    }
    let (index, files_read, bytes_read) = assembly.finish()?;
    Ok(Scan {
        tree: index.shared_tree(),
        index: Some(merge(&previous, index, &wanted)),
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

/// The name of each file with several ones that comes first in the walk.
#[derive(Default)]
struct FirstNames(HashMap<(u64, u64), Vec<u8>>);

impl FirstNames {
    /// Makes a file that was met by a further name a link to the first one.
    fn link(&self, found: &mut FoundFile) {
        let first = self.0.get(&file_of(found));
        if let Some(first) = first.filter(|first| found.has_several_names && **first != found.path)
        {
            found.link_to(first);
        }
    }
}

fn file_of(found: &FoundFile) -> (u64, u64) {
    (found.identity.device, found.identity.inode)
}

/// Tells first names of files from further ones, and finds what never has to be read in the
/// previous index.
fn link_names(met: &mut MetList, previous: &StatIndex) -> FirstNames {
    let mut names = FirstNames::default();
    met.settle(|found| {
        if found.has_several_names {
            let name = names.0.entry(file_of(found));
            name.or_insert_with(|| found.path.clone());
        }
        names.link(found);
        found.unchanged(previous)
    });
    names
}

/// Returns the tree of what was met if all of that was there before, nothing was deleted, and
/// nothing is ignored now that was not.
fn unchanged(met: &MetList, previous: &StatIndex, wanted: &[GuestPath]) -> Option<Arc<Tree>> {
    let covered = covered(previous.tree(), wanted);
    let known = met.positions()?.filter(|position| {
        let after = covered.partition_point(|range| range.end <= *position);
        covered
            .get(after)
            .is_some_and(|range| range.contains(position))
    });
    if known.count() != covered.iter().map(ExactSizeIterator::len).sum::<usize>() {
        return None;
    }
    if met.len() == previous.tree().len() {
        return Some(previous.shared_tree());
    }
    let mut tree = TreeBuilder::new();
    for position in met.positions()? {
        tree.copy(previous.tree(), position);
    }
    Some(Arc::new(tree.finish()))
}

#[cfg(test)]
mod tests;
