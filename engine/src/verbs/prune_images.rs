//! Images without names or containers.

use super::images::ImageSummary;
use super::remove::ImageRemoval;
use super::{images, remove};
use crate::Error;
use crate::stores::Stores;

/// Which images are asked to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unneeded {
    /// Those without a name.
    Dangling,
    /// All that no container uses.
    Unused,
}

/// Removes images that are not needed and that pass; never one that a container uses. Their
/// content goes with [`prune_cache`](crate::verbs::prune_cache), as far as nothing else holds it.
///
/// # Errors
/// When the store cannot be read or written.
pub fn prune_images(
    stores: &Stores,
    unneeded: Unneeded,
    select: &dyn Fn(&ImageSummary) -> bool,
) -> Result<Vec<ImageRemoval>, Error> {
    let users = remove::ImageUsers::read(stores)?;
    let mut removals = Vec::new();
    for image in images(stores)? {
        let is_unneeded = unneeded == Unneeded::Unused || image.name.is_none();
        if !is_unneeded || users.has_containers(image.id) || !select(&image) {
            continue;
        }
        let text = match &image.name {
            Some(name) => name.to_string(),
            None => image.id.to_string(),
        };
        match remove::remove_one(stores, &users, &text, true) {
            Ok(done) => removals.extend(done),
            // It went meanwhile.
            Err(Error::NoSuchImage(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(removals)
}
