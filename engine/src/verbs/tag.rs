//! Naming an image.

use kiln_cache::Named;
use kiln_containers::{ContainerError, ContainerId, Status};
use kiln_oci::{ImageId, ImageRef, Platform, Sha256, Timestamp};
use serde_json::{Value, json};

use crate::containers;
use crate::containers::container_error;
use crate::images;
use crate::local_image;
use crate::sizes;
use crate::stores::Stores;
use crate::{Error, LocalImage};

/// Gives an image another name.
///
/// # Errors
/// When there is no such image.
pub fn tag(stores: &Stores, source: &str, target: &ImageRef) -> Result<(), Error> {
    let (_, image) = images::find(stores, source)?;
    let target = target.clone().with_default_tag();
    stores
        .tags
        .set(&target, image.descriptor().digest)
        .map_err(|error| images::names_error(&error))
}
