//! Directories that must be there for something to be placed in them.

use kiln_files::GuestPath;
use kiln_oci::Timestamp;
use kiln_parser::chmod::Chmod;
use kiln_tree::{Entry, NodeKind, Xattrs};

use super::{CopyOwner, PlaceError, PlacedKind, Placement};
use crate::copy::entries::{Bytes, Placed};

/// The time of directories made in something that claims to be older: archives such as zip begin
/// with 1980, and this is after that in every time zone. npm packs with the same one.
const EARLIEST: Timestamp = Timestamp::from_seconds(499_162_500);

impl Placement<'_> {
    /// Makes sure that `path`, links followed, is a directory; places nothing if it is one.
    pub(crate) fn working_directory(&mut self, path: &GuestPath) -> Result<(), PlaceError> {
        let path = self.resolve(path)?;
        if self.is_directory(&path) {
            Ok(())
        } else {
            self.directory(&path)
        }
    }

    /// Makes sure that `path` is a directory; one that has to be made is 0755, or what `--chmod`
    /// says.
    pub(crate) fn directory(&mut self, path: &GuestPath) -> Result<(), PlaceError> {
        if path.is_root() {
            return Ok(());
        }
        self.parents(path)?;
        match self.kind_at(path) {
            Some(PlacedKind::Directory) => self.keep_directory(path),
            Some(PlacedKind::Symlink(_) | PlacedKind::Other) => {
                return Err(PlaceError::NonDirectory(path.clone()));
            }
            None => self.make_directory(path),
        }
        Ok(())
    }

    /// Makes sure that everything above `path` is a directory and is in the layer.
    pub(super) fn parents(&mut self, path: &GuestPath) -> Result<(), PlaceError> {
        // Nearly every entry is placed in the directory of the one before.
        if matches!(&self.inside, Some((directory, _)) if path.is_in(directory)) {
            return Ok(());
        }
        for parent in path.ancestors() {
            match self.kind_at(&parent) {
                Some(PlacedKind::Directory) => self.keep_directory(&parent),
                Some(PlacedKind::Symlink(_) | PlacedKind::Other) => {
                    return Err(PlaceError::NonDirectory(parent));
                }
                None => self.make_directory(&parent),
            }
        }
        self.inside = path.parent().map(|parent| {
            let is_fresh = self.fresh.contains(&parent);
            (parent, is_fresh)
        });
        Ok(())
    }

    /// Repeats a directory that is below in the layer: what changed lies in it.
    fn keep_directory(&mut self, path: &GuestPath) {
        if self.placed.get(path).is_some() {
            return;
        }
        if let Some(mut node) = self.below.get(path.as_bytes()) {
            node.kind = NodeKind::DIRECTORY;
            let bytes = Bytes::None;
            self.placed.insert(&Placed { node, bytes });
        }
    }

    fn make_directory(&mut self, path: &GuestPath) {
        self.fresh.insert(path.clone());
        let mtime = self.time_of_made(path);
        let (uid, gid) = match self.owner {
            CopyOwner::Source => (0, 0),
            CopyOwner::Ids { uid, gid } => (uid, gid),
        };
        // Only an octal --chmod reaches directories that have to be made.
        let mode = match self.mode.map(|mode| &mode.chmod) {
            Some(Chmod::Octal(mode)) => (*mode & 0o7777) as u16,
            Some(Chmod::Symbolic(_)) | None => 0o755,
        };
        let node = Entry {
            path: path.as_bytes(),
            kind: NodeKind::DIRECTORY,
            mode,
            uid,
            gid,
            mtime,
            xattrs: Xattrs::default(),
        };
        let bytes = Bytes::None;
        self.placed.insert(&Placed { node, bytes });
    }

    /// Returns the time of a directory that has to be made: that of the directory it is made in.
    /// The clock would make every build's layer another one.
    fn time_of_made(&self, path: &GuestPath) -> Timestamp {
        let around = self.time_around(path);
        around.filter(|time| *time >= EARLIEST).unwrap_or(EARLIEST)
    }

    fn time_around(&self, path: &GuestPath) -> Option<Timestamp> {
        let mut parent = path.parent();
        while let Some(directory) = parent {
            if let Some(placed) = self.placed.get(&directory) {
                return Some(placed.node.mtime);
            }
            if let Some(entry) = self.below.get(directory.as_bytes()) {
                return Some(entry.mtime);
            }
            parent = directory.parent();
        }
        None
    }
}
