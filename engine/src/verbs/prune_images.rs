//! Images without names or containers.

use std::collections::HashSet;

use kiln_containers::ContainerError;
use kiln_oci::ImageId;

use super::images::ImageSummary;
use super::remove::ImageRemoval;
use super::{images, remove};
use crate::Error;
use crate::containers;
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
    let used = images_of_containers(stores)?;
    let mut removals = Vec::new();
    let images = images(stores)?;
    let going = images.iter().filter(|image| {
        let is_unneeded = unneeded == Unneeded::Unused || image.name.is_none();
        is_unneeded && !used.contains(&image.id) && select(image)
    });
    let mut lookups = remove::Lookups::new(stores)?;
    for image in going {
        let text = match &image.name {
            Some(name) => name.to_string(),
            None => image.id.to_string(),
        };
        match remove::remove_one(stores, &mut lookups, &text, true) {
            Ok(done) => removals.extend(done),
            // It went meanwhile.
            Err(Error::NoSuchImage(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(removals)
}

/// Returns the images that containers were made of.
pub(crate) fn images_of_containers(stores: &Stores) -> Result<HashSet<ImageId>, Error> {
    let mut used = HashSet::new();
    for container in containers::containers(stores)?
        .list()
        .map_err(Error::from)?
    {
        match container.spec() {
            Ok(spec) => used.extend(spec.image_id.parse::<ImageId>()),
            // Another kiln removed it meanwhile.
            Err(ContainerError::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(used)
}
