//! Snapshots: roots that a step writes to, on top of layers and without changing them.

use std::collections::HashSet;
use std::path::PathBuf;

use kiln_cache::WorkDir;
use kiln_files::GuestPath;

use crate::build_error::BuildError;
use crate::commit::{self, Holds};
use crate::cover;
use crate::disk;
use crate::error::LayerError;
use crate::flatten::{self, flatten};
use crate::layer::{Layer, LayerStore};
use crate::overlay::OverlaySpec;
use crate::view::{self, ParentView};

/// Prepares roots for steps.
pub trait Snapshotter: Send + Sync + std::fmt::Debug {
    /// Makes a root of `layers`, lowest first, that can be written to.
    ///
    /// # Errors
    /// When a layer is not unpacked or the store cannot be written.
    fn prepare(&self, layers: &[Layer]) -> Result<Writable, BuildError>;
}

/// Stacks layers with overlayfs: nothing is copied until it is written to.
#[derive(Clone, Debug)]
pub struct Overlay {
    layers: LayerStore,
}

impl Overlay {
    /// Uses the layers of `layers`.
    #[must_use]
    pub fn new(layers: &LayerStore) -> Self {
        Self {
            layers: layers.clone(),
        }
    }
}

impl Snapshotter for Overlay {
    fn prepare(&self, layers: &[Layer]) -> Result<Writable, BuildError> {
        let lowers = lower_directories(layers)?;
        let work = self.layers.work()?;
        let [upper, scratch] = ["upper", "scratch"].map(|name| work.path().join(name));
        for directory in [&upper, &scratch] {
            crate::place::make_open_directory(directory).map_err(LayerError::at(directory))?;
        }
        // The upper directory is the root's face: it shows its mode and owner.
        let view = ParentView::new(layers)?;
        if let Some(entry) = view.get(&GuestPath::ROOT) {
            disk::set_directory(&upper, &entry).map_err(LayerError::at(&upper))?;
        }
        Ok(Writable {
            root: WritableRoot::Overlay(OverlaySpec {
                lowers,
                upper_and_work: Some((upper, scratch)),
            }),
            layers: self.layers.clone(),
            work,
        })
    }
}

/// Returns the directories of layers, topmost first as overlayfs wants them; layers without entries
/// are left out, and those below a layer that hides everything: of a layer's own root overlayfs
/// does not notice the mark.
///
/// A layer that is in the stack twice, because two steps made the same, counts where it is topmost:
/// it decides about all its paths there, and overlayfs refuses to stack a directory twice. So does
/// one whose files another layer of the stack lies on.
///
/// On top may be one of directories alone: see `cover`. Of very many layers the lower ones are made
/// into one.
///
/// # Errors
/// [`LayerError::NotUnpacked`]; [`LayerError::Owner`]; when a cover is needed and cannot be made.
pub fn lower_directories(layers: &[Layer]) -> Result<Vec<PathBuf>, BuildError> {
    let layers = match layers.first() {
        Some(first) => &flatten(&first.layers(), layers)?,
        None => layers,
    };
    let mut directories: Vec<PathBuf> = Vec::with_capacity(layers.len() + 1);
    directories.extend(cover::cover(layers)?);
    let mut seen = HashSet::with_capacity(layers.len());
    let mut known: HashSet<PathBuf> = HashSet::with_capacity(layers.len());
    for layer in layers.iter().rev() {
        let tree = layer.tree()?;
        if !tree.is_empty() && seen.insert(layer.id()) {
            layer.require_owners()?;
            for directory in layer.unpacked()?.directories() {
                if known.insert(directory.to_owned()) {
                    directories.push(directory.to_owned());
                }
            }
        }
        if view::is_opaque(&tree, b"") {
            break;
        }
    }
    Ok(directories)
}

/// Copies layers into one directory, with shared extents where the file system can: for kernels
/// and containers that refuse overlayfs.
#[derive(Clone, Debug)]
pub struct Reflink {
    layers: LayerStore,
}

impl Reflink {
    /// Uses the layers of `layers`.
    #[must_use]
    pub fn new(layers: &LayerStore) -> Self {
        Self {
            layers: layers.clone(),
        }
    }
}

impl Snapshotter for Reflink {
    fn prepare(&self, layers: &[Layer]) -> Result<Writable, BuildError> {
        let builder = self.layers.builder()?;
        // Copies: the step may write to them.
        flatten::add_all(&ParentView::new(layers)?, &builder)?;
        let (directory, _, work) = builder.into_directory()?;
        Ok(Writable {
            root: WritableRoot::Directory(directory),
            layers: self.layers.clone(),
            work,
        })
    }
}

/// The access to a root that can be written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WritableRoot {
    /// An overlay, to be mounted once.
    Overlay(OverlaySpec),
    /// A directory with everything in it.
    Directory(PathBuf),
}

/// A root that a step writes to. Dropped without [`Writable::commit`], nothing remains.
#[derive(Debug)]
pub struct Writable {
    root: WritableRoot,
    layers: LayerStore,
    work: WorkDir,
}

impl Writable {
    /// Says how the root is reached.
    #[must_use]
    pub fn root(&self) -> &WritableRoot {
        &self.root
    }

    /// Makes a layer of what was changed, once no process writes any more: of an overlay see
    /// [`close_to_writers`](crate::overlay::close_to_writers).
    ///
    /// `parent` is what the root was made of; `stubs` are the mount points that were made for the
    /// sandbox, which do not count if they are still empty.
    ///
    /// # Errors
    /// When the changes cannot be read or moved into the store.
    pub fn commit(self, parent: &ParentView, stubs: &[GuestPath]) -> Result<Layer, BuildError> {
        let (directory, holds) = match &self.root {
            WritableRoot::Overlay(OverlaySpec {
                upper_and_work: Some((upper, _)),
                ..
            }) => (upper, Holds::Changes),
            WritableRoot::Overlay(_) => return Ok(self.layers.empty()?),
            WritableRoot::Directory(directory) => (directory, Holds::Everything),
        };
        commit::commit(&self.layers, directory, holds, parent, stubs, &self.work)
    }
}
