//! Where a command finds its files.

use kiln_runtime::{JobRoot, OverlayDirectories};
use kiln_snapshotter::WritableRoot;

/// Says where the command finds its files, in the executor's words.
pub(super) fn root(writable: &kiln_snapshotter::Writable) -> JobRoot {
    match writable.root() {
        WritableRoot::Directory(directory) => JobRoot::Directory(directory.clone()),
        WritableRoot::Overlay(overlay) => JobRoot::Layers {
            lowers: overlay.lowers.clone(),
            upper: overlay
                .upper_and_work
                .clone()
                .map(|(upper, work)| OverlayDirectories { upper, work }),
        },
    }
}
