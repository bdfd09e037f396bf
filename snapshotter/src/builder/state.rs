//! Entries that a builder has collected, and the index made of them.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::AsFd as _;

use kiln_files::GuestPath;
use kiln_tree::{Device, Entry, LayerId, NodeKind, Tree, TreeBuilder};
use rustix::fs::{Mode, OFlags, fchmod};

use crate::build_error::{BuildError, writing};
use crate::disk::{self, Root};
use crate::tar::digest::Digested;

/// The two kinds of devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceNodeKind {
    /// Character.
    Char,
    /// Block.
    Block,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct BuilderState {
    /// Entries in order of arrival; a new part starts when a directory is replaced.
    pub(crate) parts: Vec<TreeBuilder>,
    /// Directories that were replaced, and the first part that this does not concern.
    pub(crate) replaced: HashMap<GuestPath, usize>,
    /// Directories that hide what is below them.
    pub(crate) opaque: HashSet<GuestPath>,
    pub(crate) has_hard_links: bool,
    /// Devices by path: the disk may not be able to tell.
    pub(crate) devices: HashMap<GuestPath, (DeviceNodeKind, Device)>,
    /// Owners that the disk cannot hold, by path; of what was replaced, too.
    pub(crate) lost_owners: HashMap<GuestPath, (u32, u32)>,
    /// The tar of the layer with this name, if it was digested on the way.
    pub(crate) digested: Option<(LayerId, Digested)>,
    /// Bytes of all entries, and of what else is kept for entries to come.
    size_bytes: usize,
}

/// Bytes of entries in an index: some ten million files. An archive of a few megabytes can ask for
/// more, with directories that are there only for what is in them.
const LARGEST_INDEX: usize = 1 << 30;

impl BuilderState {
    pub(crate) fn push(&mut self, entry: &Entry<'_>) -> Result<(), BuildError> {
        if self.parts.is_empty() {
            self.parts.push(TreeBuilder::new());
        }
        let part = self.parts.last_mut().expect("at least one part");
        let before = part.size_bytes();
        part.push(entry);
        let added = part.size_bytes() - before;
        self.count(added)
    }

    /// Counts bytes that are kept until the layer is finished.
    pub(crate) fn count(&mut self, bytes: usize) -> Result<(), BuildError> {
        self.size_bytes = self.size_bytes.saturating_add(bytes);
        if self.size_bytes > LARGEST_INDEX {
            Err(BuildError::TooManyFiles)
        } else {
            Ok(())
        }
    }
}

/// Puts the parts together, without what lay in directories that were replaced, and with the marks
/// of opaque directories.
pub(crate) fn merge(state: BuilderState) -> Tree {
    let BuilderState {
        mut parts,
        replaced,
        opaque,
        ..
    } = state;
    if parts.len() < 2 && opaque.is_empty() {
        return parts.pop().unwrap_or_default().finish();
    }
    let mut merged = TreeBuilder::new();
    for (number, part) in parts.into_iter().enumerate() {
        for entry in part.finish().iter() {
            let path = entry.guest_path();
            let gone = path
                .ancestors()
                .iter()
                .any(|ancestor| replaced.get(ancestor).is_some_and(|next| number < *next));
            if !gone {
                let kind = match entry.kind {
                    NodeKind::Directory {
                        opaque: false,
                        implied,
                    } => NodeKind::Directory {
                        opaque: opaque.contains(&path),
                        implied,
                    },
                    other => other,
                };
                merged.push(&Entry { kind, ..entry });
            }
        }
    }
    merged.finish()
}

/// Checks that whatever is in a directory stands below an entry of that directory.
pub(crate) fn check_parents(tree: &Tree) -> Result<(), BuildError> {
    let mut directories: HashSet<&[u8]> = HashSet::from([&b""[..]]);
    for position in 0..tree.len() {
        let entry = tree.at(position);
        let parent = match entry.path.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => &entry.path[..slash],
            None => b"",
        };
        if !directories.contains(parent) {
            return Err(BuildError::NoParent(entry.guest_path()));
        }
        if entry.is_directory() {
            directories.insert(entry.path);
        }
    }
    Ok(())
}

/// Gives directories their metadata, those inside before those around them.
pub(crate) fn finish_directories(
    tree: &Tree,
    root: &Root,
    owner: (u32, u32),
) -> Result<(), BuildError> {
    for position in (0..tree.len()).rev() {
        let entry = tree.at(position);
        let NodeKind::Directory { opaque, .. } = entry.kind else {
            continue;
        };
        let path = entry.guest_path();
        let set = || -> io::Result<()> {
            let directory = root.open_inside(&path, OFlags::RDONLY | OFlags::DIRECTORY)?;
            if (entry.uid, entry.gid) != owner {
                disk::set_owner(&directory, entry.uid, entry.gid)?;
            }
            fchmod(&directory, Mode::from_raw_mode(entry.mode.into()))?;
            disk::set_xattrs(directory.as_fd(), entry.xattrs)?;
            if opaque {
                disk::make_opaque(&directory)?;
            }
            disk::set_mtime(&directory, entry.mtime)
        };
        set().map_err(writing(&path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use kiln_oci::Timestamp;

    use super::*;
    use crate::metadata::Metadata;

    #[test]
    fn an_index_has_an_end() {
        let metadata = Metadata::root_owned(0o755, Timestamp::EPOCH);
        let path = GuestPath::new("d");
        let mut state = BuilderState {
            size_bytes: LARGEST_INDEX - 100,
            ..BuilderState::default()
        };
        state
            .push(&metadata.entry(&path, NodeKind::DIRECTORY))
            .unwrap();
        let long = GuestPath::new("d".repeat(200));
        let error = state.push(&metadata.entry(&long, NodeKind::DIRECTORY));
        assert!(matches!(error, Err(BuildError::TooManyFiles)));
        let error = BuilderState::default().count(LARGEST_INDEX + 1);
        assert!(matches!(error, Err(BuildError::TooManyFiles)));
    }
}
