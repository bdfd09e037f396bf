//! What the exporters of a build will want of its layers, so that it is there when they ask.

use kiln_oci::Compression;
use kiln_snapshotter::{Layer, LayerError, Packing};
use kiln_solver::LayerUse;

use crate::built::outputs;
use crate::packing::packing;
use crate::request::{BuildRequest, CacheDestination, CacheMode, FileTimes, Output};
use crate::stores::Stores;

/// A form in which layers leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LayerForm {
    /// As they are, under their digests.
    Digest,
    /// Packed, the digest included.
    Packed(Packing),
}

/// The forms in which layers leave, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct WantedForms {
    /// Those of the result.
    result: Vec<LayerForm>,
    /// All others.
    beside: Vec<LayerForm>,
}

impl WantedForms {
    pub(crate) fn of(request: &BuildRequest) -> Self {
        let mut wanted = Self::default();
        for output in outputs(request) {
            // Only files are wanted, or layers that are made of these later.
            let Some(options) = output.image() else {
                continue;
            };
            if options.file_times == FileTimes::Clamp {
                continue;
            }
            let is_packed = matches!(
                output,
                Output::Oci { .. } | Output::Docker { .. } | Output::Push(_)
            );
            add(
                &mut wanted.result,
                if is_packed {
                    LayerForm::of(packing(options.compression, options.level))
                } else {
                    LayerForm::Digest
                },
            );
        }
        // A cache has the layers as steps made them, whatever the image makes of them.
        for target in &request.cache_to {
            if target.to == CacheDestination::Inline {
                continue;
            }
            let form = LayerForm::of(packing(target.compression, target.level));
            add(&mut wanted.result, form);
            if target.mode == CacheMode::Max {
                add(&mut wanted.beside, form);
            }
        }
        wanted
    }

    pub(crate) fn is_nothing(&self) -> bool {
        self.result.is_empty() && self.beside.is_empty()
    }
}

impl LayerForm {
    fn of(packing: Packing) -> Self {
        match packing.compression {
            Compression::None => Self::Digest,
            _ => Self::Packed(packing),
        }
    }
}

fn add(forms: &mut Vec<LayerForm>, form: LayerForm) {
    if !forms.contains(&form) {
        forms.push(form);
    }
}

/// Makes the wanted forms of a layer. An error is for the exporter to meet again, and to tell.
pub(crate) fn prepare_layer(
    stores: &Stores,
    layer: &Layer,
    layer_use: LayerUse,
    wanted: &WantedForms,
) {
    let make = |form: &LayerForm| -> Result<(), LayerError> {
        match form {
            LayerForm::Digest => layer.canonical_tar().map(drop),
            LayerForm::Packed(packing) => layer.pack(&stores.blobs, *packing).map(drop),
        }
    };
    let forms = match layer_use {
        LayerUse::Result => &wanted.result,
        LayerUse::Beside => &wanted.beside,
    };
    // A packer digests on the way, so that comes first.
    let (packed, digests): (Vec<&LayerForm>, Vec<&LayerForm>) =
        forms.iter().partition(|form| **form != LayerForm::Digest);
    let _ = packed.into_iter().chain(digests).try_for_each(make);
}
