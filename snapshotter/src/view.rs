//! A root file system as its layers' indexes describe it, without mounting anything.
//!
//! Every question that the engine has about a root (does the destination of a COPY exist, who is
//! uid 33, what does `COPY --from` read) is answered here, so it costs a few binary searches, works
//! for layers that are not unpacked, and can be recorded one day.
//!
//! A path is looked for from the topmost layer down. A layer answers if it has an entry; else it
//! ends the search if something of its own stands in the way: a whiteout or a file where a
//! directory would have to be, or an opaque directory above. What is in a directory of an index has
//! that directory as an entry too, so the first ancestor that a layer lacks ends that check. Such an
//! entry may be there for that alone (*implied*): then the layers below say what the directory is.

mod small_layers; // paths of many small layers
pub(crate) mod walk; // walks over stacked indexes

use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::sync::Arc;

use kiln_files::GuestPath;
use kiln_oci::Timestamp;
use kiln_tree::{Entry, LayerId, NodeKind, Tree, Xattrs};

use self::small_layers::{LayerSearch, SmallLayers};
use crate::error::LayerError;
use crate::layer::Layer;

/// Links followed before giving up. Linux's own limit (path_resolution(7)).
const MAXIMUM_LINKS: usize = 40;

/// Why a path does not lead anywhere.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// Too many symbolic links.
    #[error("too many levels of symbolic links at {0}")]
    Loop(GuestPath),
    /// Something above it is not a directory.
    #[error("{0} is not a directory")]
    NotDirectory(GuestPath),
    /// It is not a regular file.
    #[error("{0} is not a regular file")]
    NotFile(GuestPath),
    /// It is too large for its purpose.
    #[error("{path} has {size_bytes} bytes, more than {limit_bytes}")]
    TooLarge {
        /// The file.
        path: GuestPath,
        /// Its length.
        size_bytes: u64,
        /// The most that is read.
        limit_bytes: u64,
    },
    /// The content cannot be read.
    #[error(transparent)]
    Layer(#[from] LayerError),
}

/// A root file system: layers, each on top of the one before.
#[derive(Clone, Debug, Default)]
pub struct ParentView {
    layers: Vec<Layer>,
    trees: Vec<Arc<Tree>>,
    small: SmallLayers,
}

/// An entry and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located<'a> {
    /// The entry as the merged root shows it: directories are never opaque, and a hard link is
    /// given as the file that it is.
    pub entry: Entry<'a>,
    /// Which layer it comes from, counted from the lowest; none for a root that no layer describes.
    pub layer: Option<usize>,
    /// For a file with several names in its layer: the first, by which they recognise each other.
    pub first_name: Option<&'a [u8]>,
}

/// Whether a link at the end of a path is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FollowLast {
    /// As stat(2) does.
    Yes,
    /// As lstat(2) does.
    No,
}

/// The target of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution<'a> {
    /// The path without symbolic links on the way.
    pub path: GuestPath,
    /// What is there.
    pub found: Option<Located<'a>>,
    /// The last directory on the way that exists; `path` itself if it is one.
    pub existing: GuestPath,
}

impl Resolution<'_> {
    /// Returns every directory that would have to be made for `path` to be one, outermost first.
    #[must_use]
    pub fn missing(&self) -> Vec<GuestPath> {
        if self.found.is_some() {
            return Vec::new();
        }
        let mut missing = self.path.ancestors();
        missing.push(self.path.clone());
        let existing = self.existing.components().count();
        missing.split_off(existing)
    }
}

impl ParentView {
    /// Looks at `layers`, lowest first.
    ///
    /// # Errors
    /// When an index cannot be read.
    pub fn new(layers: &[Layer]) -> Result<Self, LayerError> {
        let mut view = Self::default();
        for layer in layers {
            view.push(layer.clone())?;
        }
        Ok(view)
    }

    /// Puts a layer on top.
    ///
    /// # Errors
    /// When its index cannot be read.
    pub fn push(&mut self, layer: Layer) -> Result<(), LayerError> {
        self.trees.push(layer.tree()?);
        self.layers.push(layer);
        self.small.push(&self.trees);
        Ok(())
    }

    /// Returns the layers, lowest first.
    #[must_use]
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    pub(crate) fn trees(&self) -> &[Arc<Tree>] {
        &self.trees
    }

    /// Returns what is at `path`, following no symbolic link.
    #[must_use]
    pub fn get(&self, path: &GuestPath) -> Option<Entry<'_>> {
        self.find(path).map(|located| located.entry)
    }

    /// Returns what is at `path`, following no symbolic link, and where it is kept.
    #[must_use]
    pub fn find(&self, path: &GuestPath) -> Option<Located<'_>> {
        let below = match self.small.find(path.as_bytes(), self.trees.len()) {
            LayerSearch::At(layer) => {
                let entry = self.trees[layer].get(path.as_bytes())?;
                return (entry.kind != NodeKind::Whiteout).then(|| self.located(layer, entry));
            }
            LayerSearch::Hidden(_) => return None,
            LayerSearch::Below(layer) => layer,
        };
        for (layer, tree) in self.trees[..below].iter().enumerate().rev() {
            if let Some(entry) = tree.get(path.as_bytes()) {
                return (entry.kind != NodeKind::Whiteout).then(|| self.located(layer, entry));
            }
            if stands_in_the_way(tree, path) {
                return None;
            }
        }
        path.is_root().then(undescribed_root)
    }

    /// Follows the symbolic links in `path`; they stay inside the root.
    ///
    /// # Errors
    /// [`ViewError::Loop`] and [`ViewError::NotDirectory`].
    pub fn resolve(&self, path: &GuestPath, last: FollowLast) -> Result<Resolution<'_>, ViewError> {
        let mut current = GuestPath::ROOT;
        let mut found = self.find(&current);
        let mut links = 0;
        // The components still to go, the next one last.
        let mut rest: Vec<Vec<u8>> = path.components().rev().map(<[u8]>::to_vec).collect();
        while let Some(component) = rest.pop() {
            match component.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    current = current.parent().unwrap_or_default();
                    found = self.find(&current);
                    continue;
                }
                _ => {}
            }
            if !found.is_some_and(|located| located.entry.is_directory()) {
                return Err(ViewError::NotDirectory(current));
            }
            let next = current.join(&component);
            let Some(located) = self.find(&next) else {
                let end = rest
                    .iter()
                    .rev()
                    .fold(next, |path, component| path.join(component));
                return Ok(Resolution {
                    path: end,
                    found: None,
                    existing: current,
                });
            };
            match located.entry.kind {
                NodeKind::Symlink { target } if !rest.is_empty() || last == FollowLast::Yes => {
                    links += 1;
                    if links > MAXIMUM_LINKS {
                        return Err(ViewError::Loop(path.clone()));
                    }
                    if target.first() == Some(&b'/') {
                        current = GuestPath::ROOT;
                        found = self.find(&current);
                    }
                    let components = target.split(|&byte| byte == b'/');
                    rest.extend(components.rev().map(<[u8]>::to_vec));
                }
                _ => {
                    current = next;
                    found = Some(located);
                }
            }
        }
        let existing = match found {
            Some(located) if located.entry.is_directory() => current.clone(),
            _ => current.parent().unwrap_or_default(),
        };
        Ok(Resolution {
            path: current,
            found,
            existing,
        })
    }

    /// Returns which layer has the file that holds an entry's content.
    ///
    /// # Panics
    /// As [`ParentView::host_path`].
    #[must_use]
    pub fn layer_id(&self, located: &Located<'_>) -> LayerId {
        self.layer_of(located).id()
    }

    /// Returns the path on the host of the file that holds an entry's content. The store owns it:
    /// it must not be written to.
    ///
    /// # Errors
    /// [`LayerError::NotUnpacked`].
    ///
    /// # Panics
    /// For a root that no layer describes: it is a directory and has no content.
    pub fn host_path(&self, located: &Located<'_>) -> Result<PathBuf, LayerError> {
        let files = self.layer_of(located).unpacked()?;
        Ok(files.path(&located.entry.guest_path()))
    }

    /// Opens a regular file that [`ParentView::find`] or a walk returned.
    ///
    /// # Errors
    /// When its layer is not unpacked, it cannot be opened, or its length is not that of the index.
    ///
    /// # Panics
    /// As [`ParentView::host_path`].
    pub fn open(&self, located: &Located<'_>) -> Result<File, LayerError> {
        let layer = self.layer_of(located);
        let path = located.entry.guest_path();
        let files = layer.unpacked()?;
        let file = files.open_file(&path)?;
        let metadata = file.metadata();
        let length = metadata.map_err(LayerError::at(files.path(&path)))?.len();
        match located.entry.kind {
            NodeKind::File { size, .. } if size != length => Err(LayerError::Changed {
                id: layer.id(),
                path,
            }),
            _ => Ok(file),
        }
    }

    /// Reads a file whole, following symbolic links; none if there is no such file.
    ///
    /// # Errors
    /// When it is longer than `limit_bytes`, not a regular file, or cannot be read.
    pub fn read(&self, path: &GuestPath, limit_bytes: u64) -> Result<Option<Vec<u8>>, ViewError> {
        let resolution = self.resolve(path, FollowLast::Yes)?;
        let Some(located) = resolution.found else {
            return Ok(None);
        };
        let NodeKind::File { size, .. } = located.entry.kind else {
            return Err(ViewError::NotFile(resolution.path));
        };
        if size > limit_bytes {
            return Err(ViewError::TooLarge {
                path: resolution.path,
                size_bytes: size,
                limit_bytes,
            });
        }
        let mut bytes = Vec::new();
        let read: io::Result<usize> = self
            .open(&located)?
            .take(limit_bytes)
            .read_to_end(&mut bytes);
        read.map_err(LayerError::at(self.host_path(&located)?))?;
        Ok(Some(bytes))
    }

    /// Gives a directory that is only there for what is in it the metadata of the layers below.
    // containerd: mkparent in archive/tar.go.
    fn described<'a>(&'a self, layer: usize, entry: Entry<'a>) -> Entry<'a> {
        let NodeKind::Directory { implied: true, .. } = entry.kind else {
            return entry;
        };
        let path = entry.guest_path();
        let below = match self.small.describe(entry.path, layer) {
            // That one says it, or ends the search.
            LayerSearch::At(layer) | LayerSearch::Hidden(layer) => layer + 1,
            LayerSearch::Below(layer) => layer,
        };
        for tree in self.trees[..below].iter().rev() {
            match tree.get(entry.path).map(|found| (found.kind, found)) {
                None | Some((NodeKind::Directory { implied: true, .. }, _)) => {}
                Some((NodeKind::Directory { .. }, found)) => {
                    let kind = entry.kind;
                    return Entry { kind, ..found };
                }
                // Below there is no directory whose metadata this one could keep.
                Some(_) => return entry,
            }
            if stands_in_the_way(tree, &path) {
                return entry;
            }
        }
        entry
    }

    fn layer_of(&self, located: &Located<'_>) -> &Layer {
        let layer = located
            .layer
            .expect("only a root that no layer describes has none");
        &self.layers[layer]
    }

    /// Shows an entry as the merged root does.
    pub(crate) fn located<'a>(&'a self, layer: usize, entry: Entry<'a>) -> Located<'a> {
        let entry = self.described(layer, entry);
        let (kind, first_name) = match entry.kind {
            NodeKind::Directory { .. } => (NodeKind::DIRECTORY, None),
            NodeKind::HardLink { target } => {
                let first = self.trees[layer].get(target);
                (first.map_or(entry.kind, |first| first.kind), Some(target))
            }
            NodeKind::File { .. } => (entry.kind, Some(entry.path)),
            other => (other, None),
        };
        Located {
            entry: Entry { kind, ..entry },
            layer: Some(layer),
            first_name,
        }
    }
}

/// Returns what a root looks like if no layer says so.
fn undescribed_root() -> Located<'static> {
    Located {
        entry: Entry {
            path: b"",
            kind: NodeKind::DIRECTORY,
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: Timestamp::EPOCH,
            xattrs: Xattrs::default(),
        },
        layer: None,
        first_name: None,
    }
}

/// Says whether a layer that has no entry at `path` hides what the layers below have there.
fn stands_in_the_way(tree: &Tree, path: &GuestPath) -> bool {
    if path.is_root() {
        return false;
    }
    if is_opaque(tree, b"") {
        return true;
    }
    // Not as paths of their own: most searches end with the first.
    let path = path.as_bytes();
    let slashes = (0..path.len()).filter(|&position| path[position] == b'/');
    for end in slashes {
        match tree.get(&path[..end]).map(|entry| entry.kind) {
            None => return false,
            Some(NodeKind::Directory { opaque: false, .. }) => {}
            Some(_) => return true,
        }
    }
    false
}

pub(crate) fn is_opaque(tree: &Tree, path: &[u8]) -> bool {
    tree.get(path)
        .is_some_and(|entry| matches!(entry.kind, NodeKind::Directory { opaque: true, .. }))
}
