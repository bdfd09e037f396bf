//! How layers are packed, and what progress says of that and of transfers.

use kiln_exporter::PackProgress;
use kiln_oci::Compression;
use kiln_snapshotter::{Level, Packing};
use kiln_solver::Vertex;

/// Returns how new layers are packed.
pub(crate) fn packing(compression: Compression, level: Option<u8>) -> Packing {
    Packing {
        compression,
        level: level.map_or(Level::Default, |level| Level::Exactly(i32::from(level))),
    }
}

/// Passes on as a status of a vertex how far a layer is packed.
pub(crate) fn report_packing(vertex: &Vertex<'_>, layer: PackProgress) {
    let PackProgress {
        diff_id,
        done_bytes,
        size_bytes,
    } = layer;
    let part = format!("packing {diff_id}");
    vertex.status(
        &part,
        done_bytes,
        Some(size_bytes),
        done_bytes == size_bytes,
    );
}

/// Passes a registry's event on as a status of a vertex.
pub(crate) fn report(vertex: &Vertex<'_>, event: &kiln_registry::TransferEvent) {
    use kiln_registry::TransferStep;
    let part = event.digest.to_string();
    let size = event.size_bytes;
    let (done, finished) = match event.step {
        TransferStep::Preparing => (0, false),
        TransferStep::Downloading { done_bytes } | TransferStep::Uploading { done_bytes } => {
            (done_bytes, false)
        }
        TransferStep::AlreadyHere
        | TransferStep::Downloaded
        | TransferStep::AlreadyThere
        | TransferStep::Mounted { .. }
        | TransferStep::Uploaded => (size, true),
    };
    vertex.status(&part, done, Some(size), finished);
}
