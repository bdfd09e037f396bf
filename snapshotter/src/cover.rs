//! Directories that a layer has only for what is in them, in a stack.
//!
//! A layer need not say what the directories are that its files are in: then they remain what the
//! layers below made them. In the merged root of overlayfs the topmost directory decides all the
//! same, and a layer's files cannot depend on what it lies on. So a stack in which that would show
//! gets one more directory on top, in which are those directories and no more, as they should look.
//!
//! ```text
//! layers/<2 hex>/<layer id>/cover/<digest>/   directories above those of this layer and others
//! ```
//!
//! It belongs to the topmost layer of the stack that has such directories, and goes with it. Its
//! digest is that of an index of what is in it.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use kiln_files::{GuestPath, is_taken};
use kiln_tree::{Tree, TreeBuilder};

use crate::build_error::BuildError;
use crate::error::LayerError;
use crate::layer::Layer;
use crate::metadata::Metadata;
use crate::view::ParentView;

/// Returns the directory that belongs on top of a stack, lowest layer first, if it needs one.
pub(crate) fn cover(layers: &[Layer]) -> Result<Option<PathBuf>, BuildError> {
    let mut owner = None;
    for layer in layers.iter().rev() {
        if layer.tree()?.has_implied() {
            owner = Some(layer);
            break;
        }
    }
    let Some(owner) = owner else {
        return Ok(None);
    };
    let tree = index(&ParentView::new(layers)?);
    if tree.is_empty() {
        Ok(None)
    } else {
        Ok(Some(owner.make_cover(&tree)?))
    }
}

/// Returns the directories that overlayfs would show otherwise than the view does, and those above
/// them.
fn index(view: &ParentView) -> Tree {
    let mut needed = BTreeSet::new();
    for (layer, tree) in view.trees().iter().enumerate() {
        for entry in tree.implied() {
            let path = entry.guest_path();
            let shown = view.find(&path).filter(|shown| shown.layer == Some(layer));
            if let Some(shown) = shown
                && Metadata::of(&shown.entry) != Metadata::of(&entry)
            {
                needed.extend(path.ancestors());
                needed.extend([path, GuestPath::ROOT]);
            }
        }
    }
    let mut builder = TreeBuilder::new();
    for entry in needed.iter().filter_map(|path| view.get(path)) {
        builder.push(&entry);
    }
    builder.finish()
}

impl Layer {
    fn make_cover(&self, tree: &Tree) -> Result<PathBuf, BuildError> {
        let covers = self.path("cover");
        let path = covers.join(tree.layer_id().to_string());
        if path.is_dir() {
            return Ok(path);
        }
        let builder = self.layers().builder()?;
        for entry in tree.iter() {
            builder.add_directory(&entry.guest_path(), &Metadata::of(&entry))?;
        }
        let (made, _, _work) = builder.into_directory()?;
        fs::create_dir_all(&covers).map_err(LayerError::at(&covers))?;
        match fs::rename(made, &path) {
            // Another kiln made it first.
            Err(error) if !is_taken(&error) => Err(LayerError::at(&path)(error).into()),
            _ => Ok(path),
        }
    }
}
