//! What a build has come to, and where it is to go.

use kiln_cache::LayerStack;
use kiln_solver::TargetImage;

use crate::Error;
use crate::request::{BuildRequest, ImageOutput, Output};

/// Whether a result goes anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// To the outputs of the request, and into the journal.
    Outputs,
    /// Nowhere: only the image is wanted, to be compared.
    Nowhere,
}

/// A target and the files that solving came to.
#[derive(Debug)]
pub(crate) struct Built<'a> {
    pub(crate) target: &'a TargetImage,
    pub(crate) state: LayerStack,
}

/// Whether a result is one image or an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResultForm {
    /// One image.
    Single,
    /// An index of images, maybe of only one.
    Index,
}

/// The build argument that asks for an index, whatever the number of platforms.
const MULTI_PLATFORM: &str = "BUILDKIT_MULTI_PLATFORM";

/// Returns the form of a build's result.
pub(crate) fn form(request: &BuildRequest) -> Result<ResultForm, Error> {
    let forced = match request.build_args.get(MULTI_PLATFORM) {
        Some(text) => kiln_parser::parse_bool(text).ok_or_else(|| {
            Error::input(format!(
                "invalid boolean value {text:?} for {MULTI_PLATFORM}"
            ))
        })?,
        None => false,
    };
    Ok(if forced || request.platforms.len() > 1 {
        ResultForm::Index
    } else {
        ResultForm::Single
    })
}

/// Returns how the image is written that a build is known by: as its first image output says.
pub(crate) fn image_options(request: &BuildRequest) -> ImageOutput {
    let mut options = request.outputs.iter().filter_map(Output::image);
    options.next().cloned().unwrap_or_default()
}

/// Returns the outputs asked for, or the local store.
pub(crate) fn outputs(request: &BuildRequest) -> Vec<Output> {
    match request.outputs.as_slice() {
        [] => vec![Output::Store(ImageOutput::default())],
        outputs => outputs.to_vec(),
    }
}
