//! Naming an image.

use kiln_oci::TaggedRef;

use crate::Error;
use crate::images;
use crate::stores::Stores;

/// Gives an image another name.
///
/// # Errors
/// When there is no such image.
pub fn tag(stores: &Stores, source: &str, target: &TaggedRef) -> Result<(), Error> {
    let (_, image) = images::find(stores, source)?;
    images::name_again(stores, &image, target)
}
