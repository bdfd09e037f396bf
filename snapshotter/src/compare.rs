//! Files on disk compared with an index, directory after directory: nothing is kept but what differs.

use std::collections::HashSet;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;

use kiln_files::GuestPath;
use kiln_threads::Stop;
use kiln_tree::{Entry, NodeKind, Tree};
use rayon::prelude::*;
use rustix::fs::{AtFlags, OFlags, statat};

use crate::disk::Root;
use crate::error::LayerError;
use crate::layer_damage::{LayerDamage, Whiteouts};
use crate::layer_files::LayerFiles;
use crate::owners::MappedIds;
use crate::scan::{self, ScannedKind, ScannedNode};

/// Compares files with an index; their owners only if the disk has them. Says what is missing or
/// changed in the order of a walk, then what does not belong there; or that something cannot be read.
pub(crate) fn compare_with(
    tree: &Tree,
    files: &LayerFiles,
    whiteouts: Whiteouts,
    owners: Option<&MappedIds>,
) -> Vec<LayerDamage> {
    let roots = files
        .directories()
        .map(|directory| Root::open(directory).map_err(LayerError::at(directory)));
    let comparison = match roots.collect::<Result<Vec<Root>, LayerError>>() {
        Ok(roots) => LayerComparison {
            tree,
            roots,
            whiteouts,
            owners,
        },
        Err(error) => return vec![LayerDamage::Unreadable(error)],
    };
    let mut directories = vec![None];
    let is_below_root = |position: &usize| !tree.at(*position).path.is_empty();
    let positions = (0..tree.len()).filter(is_below_root);
    directories.extend(
        positions
            .filter(|position| tree.at(*position).is_directory())
            .map(Some),
    );
    kiln_threads::prepare_pool();
    let found: Result<Vec<Vec<LayerDamage>>, LayerError> = directories
        .par_iter()
        .map(|directory| comparison.directory(*directory))
        .collect();
    match found {
        Ok(found) => {
            let found = found.into_iter().flatten();
            let is_foreign = |damage: &LayerDamage| matches!(damage, LayerDamage::Foreign(_));
            let (foreign, mut damage): (Vec<_>, Vec<_>) = found.partition(is_foreign);
            damage.extend(foreign);
            damage
        }
        Err(error) => vec![LayerDamage::Unreadable(error)],
    }
}

struct LayerComparison<'a> {
    tree: &'a Tree,
    /// The directories that hold the files, topmost first.
    roots: Vec<Root>,
    whiteouts: Whiteouts,
    owners: Option<&'a MappedIds>,
}

impl LayerComparison<'_> {
    /// Compares what is in a directory, of which the position in the tree is given; none for the root.
    fn directory(&self, position: Option<usize>) -> Result<Vec<LayerDamage>, LayerError> {
        let path = position.map_or(GuestPath::ROOT, |at| self.tree.at(at).guest_path());
        let mut foreign = Vec::new();
        let mut found: HashSet<usize> = HashSet::new();
        let mut damage: Vec<(usize, LayerDamage)> = Vec::new();
        for root in &self.roots {
            let at = LayerError::at(root.path().join(path.as_relative()));
            let opened = root.open_inside(&path, OFlags::RDONLY | OFlags::DIRECTORY);
            let directory = match opened {
                // Another has it, or it is missing, or no directory, which its own directory says.
                Err(error)
                    if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
                {
                    continue;
                }
                other => other.map_err(at)?,
            };
            let at = LayerError::at(root.path().join(path.as_relative()));
            let names = scan::names(&directory).map_err(at)?;
            // What is in the upper one counts.
            let mut here = Vec::with_capacity(names.len());
            for name in names {
                match self.tree.position(path.join(&name).as_bytes()) {
                    Ok(position) => {
                        if found.insert(position) {
                            here.push((position, name));
                        }
                    }
                    Err(_) => foreign.push(path.join(&name)),
                }
            }
            let differing: Result<Vec<Option<(usize, LayerDamage)>>, LayerError> = here
                .par_iter()
                .map(|(position, name)| {
                    let entry = self.tree.at(*position);
                    let path = entry.guest_path();
                    let what = self.differs(&entry, &directory, name, &path);
                    let what =
                        what.map_err(LayerError::at(root.path().join(path.as_relative())))?;
                    Ok(what.map(|what| (*position, LayerDamage::Changed { path, what })))
                })
                .collect();
            damage.extend(differing?.into_iter().flatten());
        }
        for position in self.children(position) {
            let entry = self.tree.at(position);
            let is_left_out =
                entry.kind == NodeKind::Whiteout && self.whiteouts == Whiteouts::IndexOnly;
            if !found.contains(&position) && !is_left_out {
                damage.push((position, LayerDamage::Missing(entry.guest_path())));
            }
        }
        damage.sort_by_key(|(position, _)| *position);
        foreign.sort_unstable();
        foreign.dedup();
        let damage = damage.into_iter().map(|(_, damage)| damage);
        Ok(damage
            .chain(foreign.into_iter().map(LayerDamage::Foreign))
            .collect())
    }

    /// Returns the positions of the entries in a directory, without those further down.
    fn children(&self, position: Option<usize>) -> impl Iterator<Item = usize> {
        let path = position.map_or(&b""[..], |at| self.tree.at(at).path);
        let below = self.tree.below(path);
        let next = |position: usize| {
            let entry = self.tree.at(position);
            if entry.is_directory() {
                self.tree.below(entry.path).end
            } else {
                position + 1
            }
        };
        let first = (below.start < below.end).then_some(below.start);
        std::iter::successors(first, move |position| {
            Some(next(*position)).filter(|next| *next < below.end)
        })
    }

    /// Says in which regard a file is not what its entry says.
    fn differs(
        &self,
        entry: &Entry<'_>,
        directory: &OwnedFd,
        name: &[u8],
        path: &GuestPath,
    ) -> io::Result<Option<&'static str>> {
        if let NodeKind::HardLink { target } = entry.kind {
            return self.is_other_file(directory, name, target, path);
        }
        let node = scan::entry(directory, name, path, &Stop::default())?;
        Ok(difference(entry, &node, self.owners))
    }

    /// Compares a further name of a file with the first, which is compared with the index itself.
    fn is_other_file(
        &self,
        directory: &OwnedFd,
        name: &[u8],
        target: &[u8],
        path: &GuestPath,
    ) -> io::Result<Option<&'static str>> {
        let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let target = self.tree.get(target);
        let first = target.and_then(|target| {
            let path = target.guest_path();
            self.roots.iter().find_map(|root| root.stat(&path).ok())
        });
        let is_same =
            first.is_some_and(|first| (first.st_dev, first.st_ino) == (stat.st_dev, stat.st_ino));
        if is_same {
            return Ok(None);
        }
        // A copy of it serves as well.
        let node = scan::entry(directory, name, path, &Stop::default())?;
        let expected = target.map(|target| target.kind);
        Ok((node.index_kind() != expected).then_some("content"))
    }
}

/// Says in which regard a node is not what an entry says.
fn difference(
    entry: &Entry<'_>,
    node: &ScannedNode,
    owners: Option<&MappedIds>,
) -> Option<&'static str> {
    let is_stand_in = matches!(&node.kind, ScannedKind::File(hashed) if hashed.size_bytes == 0);
    match entry.kind {
        // An empty file holds the place of a device that could not be made.
        NodeKind::CharDevice(_) | NodeKind::BlockDevice(_) if is_stand_in => return None,
        NodeKind::Whiteout => return (node.kind != ScannedKind::Whiteout).then_some("kind"),
        _ => {}
    }
    let found = node.index_kind();
    match (entry.kind, found) {
        (kind, Some(found)) if kind == found => {}
        // The disk does not know that a directory is there for what is in it.
        (NodeKind::Directory { opaque, .. }, Some(NodeKind::Directory { opaque: found, .. }))
            if opaque == found => {}
        (NodeKind::File { .. }, Some(NodeKind::File { .. })) => return Some("content"),
        (NodeKind::Symlink { .. }, Some(NodeKind::Symlink { .. })) => return Some("target"),
        _ => return Some("kind"),
    }
    // Symbolic links have no mode, and file systems differ in how finely they keep times.
    let is_link = matches!(entry.kind, NodeKind::Symlink { .. });
    match () {
        () if !is_link && entry.mode != node.mode => Some("mode"),
        () if owners.is_some_and(|owners| !owners.may_be_uid(entry.uid, node.uid)) => Some("owner"),
        () if owners.is_some_and(|owners| !owners.may_be_gid(entry.gid, node.gid)) => Some("group"),
        () if !is_time_kept(entry.mtime.seconds, node.mtime.seconds) => {
            Some("time of modification")
        }
        () => None,
    }
}

/// Says whether a file system that was to keep one time, in seconds, may have kept the other: those
/// beyond its range become the nearest in it. All that overlayfs is mounted upon know the times of
/// 32 bits at least.
fn is_time_kept(wanted: i64, found: i64) -> bool {
    let (first, last) = (i64::from(i32::MIN), i64::from(i32::MAX));
    wanted == found
        || (wanted > last && (last..wanted).contains(&found))
        || (wanted < first && found > wanted && found <= first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_a_disk_cannot_hold_are_the_nearest_that_it_can() {
        let (last, far) = (i64::from(i32::MAX), 1 << 40);
        for (wanted, found, is_kept) in [
            (7, 7, true),
            (7, 8, false),
            (far, last, true),
            // ext4 with large inodes, in the year 2446.
            (far, (1 << 34) - (1 << 31) - 1, true),
            (far, 7, false),
            (far, far + 1, false),
            (-far, i64::from(i32::MIN), true),
            (-far, 0, false),
        ] {
            assert_eq!(is_time_kept(wanted, found), is_kept, "{wanted} {found}");
        }
    }
}
