//! Stacks of more layers than the kernel mounts: the lower ones are made into one.

use kiln_files::GuestPath;
use kiln_tree::{Encoder, LayerId};

use crate::build_error::BuildError;
use crate::builder::LayerBuilder;
use crate::layer::{Layer, LayerStore};
use crate::metadata::Metadata;
use crate::owners::MappedIds;
use crate::view::ParentView;

/// Directories that overlayfs stacks in any case, with one of kiln's own and the one that is written to.
const MOST_DIRECTORIES: usize = 490;

/// How many layers are made into one is a multiple of this: with each step there is one more layer,
/// and the ones below are the same for the next steps.
const STEP: usize = 100;

/// Returns a stack with the same files of which the kernel can mount all layers.
pub(crate) fn flatten(store: &LayerStore, layers: &[Layer]) -> Result<Vec<Layer>, BuildError> {
    // A layer whose files lie on those of another has two.
    let is_short = layers.len() <= MOST_DIRECTORIES / 2 || {
        let donors = layers.iter().filter(|layer| layer.donor().is_some());
        layers.len() + donors.count() <= MOST_DIRECTORIES
    };
    if is_short {
        return Ok(layers.to_vec());
    }
    let (lower, upper) = layers.split_at((layers.len() - 1) / STEP * STEP);
    let mut stack = vec![flat(store, lower)?];
    stack.extend_from_slice(upper);
    Ok(stack)
}

/// Returns the layer with all files of a stack.
fn flat(store: &LayerStore, layers: &[Layer]) -> Result<Layer, BuildError> {
    let mut encoder = Encoder::new("kiln.flat.1");
    for layer in layers {
        encoder.value(&layer.id().0);
    }
    let stack = encoder.finish();
    let known: Option<LayerId> = store.flat_layer(stack);
    if let Some(layer) = known.and_then(|id| store.layer(id)) {
        return Ok(layer);
    }
    tracing::debug!(layers = layers.len(), "more layers than the kernel mounts");
    let builder = store.builder()?;
    add_all(&ParentView::new(layers)?, &builder)?;
    let layer = builder.finish()?;
    store.keep_flat_layer(stack, layer.id());
    Ok(layer)
}

/// Copies everything that a view shows, with shared extents where the file system can.
pub(crate) fn add_all(view: &ParentView, builder: &LayerBuilder) -> Result<(), BuildError> {
    if let Some(root) = view.get(&GuestPath::ROOT) {
        builder.add_directory(&GuestPath::ROOT, &Metadata::of(&root))?;
    }
    for located in view.walk(&GuestPath::ROOT) {
        let entry = located.entry;
        let owner = (entry.uid, entry.gid);
        MappedIds::of_this_process().check(owner, || entry.guest_path())?;
        builder.add_entry(&entry.guest_path(), &entry, || view.open(&located))?;
    }
    Ok(())
}
