//! Layers that a kiln with few ids unpacked get the owners of their index.
//!
//! Such a layer is marked when it is published (see `owners`). A snapshot requires its layers to have
//! their owners before it mounts them; a verification gives them where it can. Files of a layer
//! without the mark are not touched.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd as _;

use kiln_files::GuestPath;
use kiln_tree::{Entry, NodeKind};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid, chmodat, chownat, fchown};

use crate::disk::{self, Root};
use crate::error::LayerError;
use crate::layer::Layer;
use crate::owners::{MARK, MappedIds};

impl Layer {
    /// Makes sure that its files have the owners of the index: a snapshot is about to mount them.
    ///
    /// # Errors
    /// [`LayerError::Owner`] where this process has no id for one of them.
    pub(crate) fn require_owners(&self) -> Result<(), LayerError> {
        let owners = MappedIds::of_this_process();
        if !owners.are_all() {
            for entry in self.tree()?.iter() {
                owners.check((entry.uid, entry.gid), || entry.guest_path())?;
            }
        }
        self.restore_owners().map(drop)
    }

    /// Gives its files, and those that it lies on, the owners of the index, if they lack them and this
    /// process has the ids. Says whether they have them now.
    pub(crate) fn restore_owners(&self) -> Result<bool, LayerError> {
        let donor = self.donor().map_or(Ok(true), |donor| donor.give_owners());
        Ok(self.give_owners()? && donor?)
    }

    fn give_owners(&self) -> Result<bool, LayerError> {
        let mark = self.path(MARK);
        if !mark.exists() {
            return Ok(true);
        }
        let owners = MappedIds::of_this_process();
        let tree = self.tree()?;
        if !owners.can_store_all(&tree) {
            return Ok(false);
        }
        let _lock = self.lock_work()?;
        if !mark.exists() {
            return Ok(true);
        }
        let diff = self.path("diff");
        let root = Root::open(&diff).map_err(LayerError::at(&diff))?;
        for entry in tree.iter() {
            let path = entry.guest_path();
            match give(&root, &path, &entry) {
                // The layer that it lies on has it.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                other => other.map_err(LayerError::at(diff.join(path.as_relative())))?,
            }
        }
        fs::remove_file(&mark).map_err(LayerError::at(&mark))?;
        Ok(true)
    }
}

/// Gives what an entry describes its owner, and what a change of owner takes away.
fn give(root: &Root, path: &GuestPath, entry: &Entry<'_>) -> io::Result<()> {
    if matches!(entry.kind, NodeKind::Whiteout | NodeKind::HardLink { .. }) {
        return Ok(());
    }
    let stat = root.stat(path)?;
    if (stat.st_uid, stat.st_gid) == (entry.uid, entry.gid) {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    if entry.is_directory() {
        let directory = root.open_inside(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        return Ok(fchown(directory, Some(uid), Some(gid))?);
    }
    let (parent, name) = (root.parent(path)?, path.name());
    chownat(
        &parent,
        name,
        Some(uid),
        Some(gid),
        AtFlags::SYMLINK_NOFOLLOW,
    )?;
    // Of all but links and directories, set-user-id and capabilities went. (chown(2))
    if !matches!(entry.kind, NodeKind::Symlink { .. }) {
        let mode = Mode::from_raw_mode(entry.mode.into());
        chmodat(&parent, name, mode, AtFlags::empty())?;
    }
    if let NodeKind::File { .. } = entry.kind {
        let file = root.open_inside(path, OFlags::RDONLY | OFlags::NOCTTY)?;
        disk::set_xattrs(file.as_fd(), entry.xattrs)?;
    }
    Ok(())
}
