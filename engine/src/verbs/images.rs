//! Listing the images of the local store.

use kiln_cache::Named;
use kiln_oci::{ImageId, Sha256, TaggedRef, Timestamp};

use crate::images;
use crate::local_image;
use crate::sizes;
use crate::stores::Stores;
use crate::{Error, LocalImage};

/// One row of `kiln images`.
#[derive(Clone, Debug)]
pub struct ImageSummary {
    /// Repository and tag; none for an image without a name.
    pub name: Option<TaggedRef>,
    /// The image's id.
    pub id: ImageId,
    /// The manifest (or index) the name stands for.
    pub manifest: Sha256,
    /// When the image was made.
    pub created: Option<Timestamp>,
    /// Bytes of its layers.
    pub size_bytes: u64,
}

/// Lists the images, newest first.
///
/// # Errors
/// When the store cannot be read.
pub fn images(stores: &Stores) -> Result<Vec<ImageSummary>, Error> {
    let mut rows = Vec::new();
    let mut named = Vec::new();
    for Named { name, manifest } in images::names(stores)? {
        // A name whose content was damaged is not listed; `inspect` says what is wrong.
        if let Ok(image) = local_image::read(stores, manifest) {
            named.push(image.id());
            rows.push(summary(stores, Some(name), &image));
        }
    }
    let all = stores
        .ids
        .starting_with("")
        .map_err(|error| Error::environment("cannot list the local images", error))?;
    for (id, manifest) in all {
        if !named.contains(&id)
            && let Ok(image) = local_image::read(stores, manifest)
        {
            rows.push(summary(stores, None, &image));
        }
    }
    rows.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.name.cmp(&b.name)));
    Ok(rows)
}

fn summary(stores: &Stores, name: Option<TaggedRef>, image: &LocalImage) -> ImageSummary {
    ImageSummary {
        name,
        id: image.id(),
        manifest: image.descriptor().digest,
        created: image.representative().config.created,
        size_bytes: sizes::size_of(stores, image.images()),
    }
}
