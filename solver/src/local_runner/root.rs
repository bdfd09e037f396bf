//! Where a command finds its files.

use kiln_runtime::{Root, Writable};
use kiln_snapshotter::WritableRoot;

/// Says where the command finds its files, in the executor's words.
pub(super) fn root(writable: &kiln_snapshotter::Writable) -> Root {
    match writable.root() {
        WritableRoot::Directory(directory) => Root::Directory(directory.clone()),
        WritableRoot::Overlay(overlay) => Root::Layers {
            lowers: overlay.lowers.clone(),
            upper: overlay
                .upper_and_work
                .clone()
                .map(|(upper, work)| Writable { upper, work }),
        },
    }
}
