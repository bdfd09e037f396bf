//! From sources to the entries of a layer: destinations, owners, modes, collisions.

mod directories; // those that must be there

use std::collections::HashSet;

use kiln_files::GuestPath;
use kiln_oci::Timestamp;
use kiln_snapshotter::{Added, LayerBuilder};
use kiln_tree::{Entry, NodeKind, Xattrs};

use super::choose::{Chosen, ChosenPart};
use super::entries::{Bytes, Entries, Placed};
use super::select::SelectedSource;
use crate::files::{Files, UnresolvedPath, follow_hard_link, resolve};
use crate::graph::{ChmodValue, CopyOp};

/// Who owns what is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CopyOwner {
    /// The owner of the source; root for directories that have to be made.
    Source,
    /// `--chown`.
    Ids {
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
    },
}

/// Why files cannot be put where they should go.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// A directory would take the place of something else.
    #[error("cannot copy to non-directory: {0}")]
    NonDirectory(GuestPath),
    /// A file would take the place of a directory.
    #[error("cannot replace to directory {0} with file")]
    Directory(GuestPath),
    /// The destination leads nowhere.
    #[error(transparent)]
    Unresolved(#[from] UnresolvedPath),
}

/// The entries of a layer in the making, on top of what is below.
pub(crate) struct Placement<'a> {
    below: &'a dyn Files,
    source: &'a dyn Files,
    owner: CopyOwner,
    mode: Option<&'a ChmodValue>,
    /// The time of files that the Dockerfile holds.
    time: Timestamp,
    /// What was placed and written before, if anything was.
    written: Option<&'a LayerBuilder>,
    placed: Entries,
    /// Placed directories that did not exist before: what was not placed in them does not exist.
    fresh: HashSet<GuestPath>,
    /// The directory that the last entry was placed in, and whether it is such a fresh one.
    inside: Option<(GuestPath, bool)>,
    /// Files of the source with several names that were placed, by the first one.
    links: HashSet<&'a [u8]>,
}

impl<'a> Placement<'a> {
    pub(crate) fn new(
        below: &'a dyn Files,
        source: &'a dyn Files,
        owner: CopyOwner,
        mode: Option<&'a ChmodValue>,
        time: Timestamp,
    ) -> Self {
        Self {
            below,
            source,
            owner,
            mode,
            time,
            written: None,
            placed: Entries::default(),
            fresh: HashSet::new(),
            inside: None,
            links: HashSet::new(),
        }
    }

    /// Turns to another source. What came from the one before must be written.
    pub(crate) fn turn_to(&mut self, source: &'a dyn Files) {
        self.source = source;
        self.links.clear();
    }

    /// Says whether everything that was placed is still here: nothing was taken out or unpacked.
    pub(crate) fn is_all(&self) -> bool {
        self.written.is_none()
    }

    /// Returns what has been placed.
    pub(crate) fn into_entries(self) -> Entries {
        self.placed
    }

    /// Takes out what has been placed so far, to be written to `builder`; look-ups find it there.
    pub(crate) fn take(&mut self, builder: &'a LayerBuilder) -> Entries {
        if !self.placed.is_empty() {
            self.look_in(builder);
        }
        std::mem::take(&mut self.placed)
    }

    /// Says that something was written to `builder`.
    pub(crate) fn look_in(&mut self, builder: &'a LayerBuilder) {
        self.written = Some(builder);
        self.fresh.clear();
        self.inside = None;
    }

    /// Makes the destination a directory and returns where it is: an archive is unpacked into it.
    pub(crate) fn archive(&mut self, copy: &CopyOp) -> Result<GuestPath, PlaceError> {
        let destination = self.resolve(&copy.destination)?;
        self.directory(&destination)?;
        Ok(destination)
    }

    /// Places everything that one selection stands for.
    pub(crate) fn selection(
        &mut self,
        copy: &CopyOp,
        selection: &SelectedSource<'a>,
    ) -> Result<(), PlaceError> {
        let destination = self.resolve(&copy.destination)?;
        if selection.is_directory() {
            self.directory(&destination)?;
            if let Some(entry) = selection.entry {
                self.placed
                    .change(&destination, |placed| placed.node.mtime = entry.mtime);
            }
            return self.contents(&destination, selection);
        }
        let target = if copy.into_directory || self.is_directory(&destination) {
            destination.join(&selection.name)
        } else {
            destination
        };
        match selection.entry {
            Some(entry) => self.node(target, entry),
            None => Ok(()),
        }
    }

    /// Places a file that the Dockerfile holds itself.
    pub(crate) fn inline(
        &mut self,
        copy: &CopyOp,
        name: &str,
        content: &str,
    ) -> Result<(), PlaceError> {
        let destination = self.resolve(&copy.destination)?;
        let target = if copy.into_directory || self.is_directory(&destination) {
            destination.join(name)
        } else {
            destination
        };
        self.parents(&target)?;
        self.check_replaceable(&target)?;
        let (uid, gid) = self.ids(0, 0);
        let kind = NodeKind::File {
            size: content.len() as u64,
            hash: kiln_tree::Blake3::of(content.as_bytes()),
        };
        let node = Entry {
            path: target.as_bytes(),
            kind,
            mode: self.changed_mode(0o644, false),
            uid,
            gid,
            mtime: self.time,
            xattrs: Xattrs::default(),
        };
        let bytes = Bytes::Inline(content.as_bytes());
        self.placed.insert(&Placed { node, bytes });
        Ok(())
    }

    /// Places what is in a directory into another.
    fn contents(
        &mut self,
        destination: &GuestPath,
        selection: &SelectedSource<'a>,
    ) -> Result<(), PlaceError> {
        let relative = |path: &'a [u8]| match selection.path.as_bytes() {
            b"" => Some(path),
            top => path.strip_prefix(top)?.strip_prefix(b"/"),
        };
        let source: &'a dyn Files = self.source;
        for Chosen { entry: child, part } in selection.children(source) {
            let Some(name) = relative(child.path) else {
                continue;
            };
            let target = destination.join(name);
            if part == ChosenPart::OnTheWay && self.is_directory(&target) {
                self.around(&target, child)?;
                continue;
            }
            let NodeKind::HardLink { target: first } = child.kind else {
                self.node(target, child)?;
                continue;
            };
            // If the first name was not copied along, this one is the first.
            let is_copied =
                relative(first).is_some_and(|name| self.is_from(&destination.join(name), first));
            let is_next = !self.links.insert(first);
            let bytes = if is_copied || is_next {
                Bytes::SameAs(first)
            } else {
                Bytes::Source(first)
            };
            let file = self.placed_as(follow_hard_link(source, child));
            self.node_as(target, Placed { bytes, ..file })?;
        }
        Ok(())
    }

    /// Sets the mode of a destination directory to that of a source directory that was not chosen
    /// itself, but has chosen entries in it.
    fn around(&mut self, target: &GuestPath, entry: Entry<'_>) -> Result<(), PlaceError> {
        self.directory(target)?;
        self.placed
            .change(target, |placed| placed.node.mode = entry.mode);
        Ok(())
    }

    fn is_from(&self, place: &GuestPath, path: &[u8]) -> bool {
        let placed = self.placed.get(place);
        placed.is_some_and(|placed| placed.bytes == Bytes::Source(path))
    }

    /// Places one entry of the source at a path of the layer.
    fn node(&mut self, target: GuestPath, entry: Entry<'_>) -> Result<(), PlaceError> {
        self.node_as(target, self.placed_as(entry))
    }

    fn node_as(&mut self, target: GuestPath, placed: Placed<'_>) -> Result<(), PlaceError> {
        self.parents(&target)?;
        let is_directory = placed.node.is_directory();
        let check = |target: &GuestPath, found: Option<&PlacedKind>| match found {
            Some(PlacedKind::Directory) if !is_directory => {
                Err(PlaceError::Directory(target.clone()))
            }
            Some(PlacedKind::Symlink(_) | PlacedKind::Other) if is_directory => {
                Err(PlaceError::NonDirectory(target.clone()))
            }
            _ => Ok(()),
        };
        let is_in_fresh = matches!(self.inside, Some((_, true)));
        match self.placed.get(&target) {
            Some(earlier) => check(&target, Some(&PlacedKind::of(&earlier.node)))?,
            None => {
                let before = if is_in_fresh {
                    None
                } else {
                    self.kind_before(&target)
                };
                check(&target, before.as_ref())?;
                if is_directory && before.is_none() {
                    self.fresh.insert(target.clone());
                }
            }
        }
        let node = Entry {
            path: target.as_bytes(),
            ..placed.node
        };
        self.placed.insert(&Placed { node, ..placed });
        Ok(())
    }

    /// Returns what becomes of an entry of the source.
    fn placed_as<'e>(&self, entry: Entry<'e>) -> Placed<'e> {
        let mut node = entry;
        (node.uid, node.gid) = self.ids(entry.uid, entry.gid);
        if !matches!(node.kind, NodeKind::Symlink { .. }) {
            node.mode = self.changed_mode(node.mode, entry.is_directory());
        }
        let bytes = match entry.kind {
            NodeKind::File { .. } => Bytes::Source(entry.path),
            _ => Bytes::None,
        };
        Placed { node, bytes }
    }

    fn check_replaceable(&self, path: &GuestPath) -> Result<(), PlaceError> {
        match self.kind_at(path) {
            Some(PlacedKind::Directory) => Err(PlaceError::Directory(path.clone())),
            _ => Ok(()),
        }
    }

    fn resolve(&self, path: &GuestPath) -> Result<GuestPath, UnresolvedPath> {
        resolve(path, |path| match self.kind_at(path)? {
            PlacedKind::Symlink(target) => Some(target),
            PlacedKind::Directory | PlacedKind::Other => None,
        })
    }

    fn is_directory(&self, path: &GuestPath) -> bool {
        path.is_root() || matches!(self.kind_at(path), Some(PlacedKind::Directory))
    }

    fn kind_at(&self, path: &GuestPath) -> Option<PlacedKind> {
        if let Some(placed) = self.placed.get(path) {
            return Some(PlacedKind::of(&placed.node));
        }
        if path
            .parent()
            .is_some_and(|parent| self.fresh.contains(&parent))
        {
            return None;
        }
        self.kind_before(path)
    }

    /// Returns what is at a path without what is placed.
    fn kind_before(&self, path: &GuestPath) -> Option<PlacedKind> {
        match self
            .written
            .map_or(Added::Nothing, |layer| layer.look(path))
        {
            Added::Nothing => self.below.get(path.as_bytes()).as_ref().map(PlacedKind::of),
            Added::Directory => Some(PlacedKind::Directory),
            Added::Symlink(target) => Some(PlacedKind::Symlink(target)),
            Added::Other => Some(PlacedKind::Other),
        }
    }

    fn ids(&self, uid: u32, gid: u32) -> (u32, u32) {
        match self.owner {
            CopyOwner::Source => (uid, gid),
            CopyOwner::Ids { uid, gid } => (uid, gid),
        }
    }

    fn changed_mode(&self, mode: u16, is_directory: bool) -> u16 {
        match self.mode {
            Some(change) => (change.chmod.apply(u32::from(mode), is_directory) & 0o7777) as u16,
            None => mode,
        }
    }
}

/// What is at a path.
enum PlacedKind {
    Directory,
    Symlink(Vec<u8>),
    Other,
}

impl PlacedKind {
    fn of(entry: &Entry<'_>) -> Self {
        match entry.kind {
            NodeKind::Directory { .. } => Self::Directory,
            NodeKind::Symlink { target } => Self::Symlink(target.to_vec()),
            _ => Self::Other,
        }
    }
}
