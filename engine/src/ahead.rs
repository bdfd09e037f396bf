//! What the exporters of a build will want of its layers, so that it is there when they ask.

use kiln_cache::Compression;
use kiln_snapshotter::{Layer, Packing};

use crate::Engine;
use crate::output::{outputs, packing};
use crate::request::{BuildRequest, CacheDestination, CacheTarget, FileTimes, Output};

/// The form in which layers leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// None: only files are wanted, or layers that are made of these later.
    Nothing,
    /// Their digests.
    Digests,
    /// Packed, the digest included.
    Packed(Packing),
}

impl Wanted {
    pub(crate) fn of(request: &BuildRequest) -> Self {
        let mut wanted = Self::Nothing;
        for output in outputs(request) {
            let Some(options) = output.image() else {
                continue;
            };
            if options.file_times == FileTimes::Clamp {
                continue;
            }
            let packing = packing(options.compression, options.level);
            let is_packed = matches!(
                output,
                Output::Oci { .. } | Output::Docker { .. } | Output::Push(_)
            );
            match is_packed && packing.compression != Compression::None {
                true => return Self::Packed(packing),
                false => wanted = Self::Digests,
            }
        }
        // A cache has the layers as steps made them, whatever the image makes of them.
        let is_packed = |target: &&CacheTarget| {
            target.to != CacheDestination::Inline && target.compression != Compression::None
        };
        match request.cache_to.iter().find(is_packed) {
            Some(target) => Self::Packed(packing(target.compression, target.level)),
            None => wanted,
        }
    }
}

impl Engine {
    /// Makes the wanted form of a layer. An error is for the exporter to meet again, and to tell.
    pub(crate) fn prepare_layer(&self, layer: &Layer, wanted: Wanted) {
        let _ = match wanted {
            Wanted::Nothing => Ok(()),
            Wanted::Digests => layer.canonical_tar().map(|_| ()),
            Wanted::Packed(packing) => layer.pack(&self.blobs, packing).map(|_| ()),
        };
    }
}
