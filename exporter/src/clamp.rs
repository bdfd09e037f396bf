//! Layers without times later than SOURCE_DATE_EPOCH (`rewrite-timestamp=true`).
//!
//! The result is a layer like any other, so config, store and export need not know: the engine clamps
//! the layers first and then assembles the image of them. A layer that was clamped
//! before is found again.

use kiln_oci::Timestamp;
use kiln_snapshotter::{BuildError, Layer, LayerStore};
use kiln_tree::{Entry, TreeBuilder};

/// Returns a modification time that is not after `latest`. If that is the epoch of all times, an
/// earlier time becomes it too: who asks for it wants every time to be the same, and COPY finds a file
/// again whatever its time.
#[must_use]
pub fn clamp_time(time: Timestamp, latest: Timestamp) -> Timestamp {
    if latest == Timestamp::EPOCH {
        latest
    } else {
        time.min(latest)
    }
}

/// Returns a layer with the files of `layer` and no modification time after `latest`. The layer
/// has to be unpacked unless nothing changes.
///
/// # Errors
/// When the files cannot be read or the new layer not be written.
pub fn clamp_times(
    layers: &LayerStore,
    layer: &Layer,
    latest: Timestamp,
) -> Result<Layer, BuildError> {
    let tree = layer.tree()?;
    let clamped = |entry: Entry<'_>| clamp_time(entry.mtime, latest);
    if tree.iter().all(|entry| entry.mtime == clamped(entry)) {
        return Ok(layer.clone());
    }
    let mut expected = TreeBuilder::new();
    for entry in tree.iter() {
        expected.push(&Entry {
            mtime: clamped(entry),
            ..entry
        });
    }
    if let Some(known) = layers.layer(expected.finish().layer_id())
        && known.files().is_some()
    {
        return Ok(known);
    }
    let builder = layers.builder()?;
    let files = layer.unpacked()?;
    for entry in tree.iter() {
        let path = entry.guest_path();
        let entry = Entry {
            mtime: clamped(entry),
            ..entry
        };
        builder.add_entry(&path, &entry, || files.open_file(&path))?;
    }
    builder.finish()
}
