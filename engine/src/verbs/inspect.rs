//! What is known about an image.

use kiln_cache::Named;
use kiln_oci::{Descriptor, ImageConfig, ImageId, Platform};

use crate::Error;
use crate::images;
use crate::sizes;
use crate::stores::Stores;

/// What is known about an image.
#[derive(Clone, Debug)]
pub struct InspectedImage {
    /// The digest of the config, or of the index.
    pub id: ImageId,
    /// Its names with tags.
    pub tags: Vec<String>,
    /// Its names with digests.
    pub digests: Vec<String>,
    /// The config; of an index, that of the image for one platform.
    pub config: ImageConfig,
    /// Bytes of its layers.
    pub size_bytes: u64,
    /// What points at it: at its manifest, or at the index.
    pub descriptor: Descriptor,
    /// What the index lists, if there is one.
    pub manifests: Option<Vec<Descriptor>>,
}

/// Looks at an image: of an index, at the image for `platform`, or for this machine, under the
/// index's id.
///
/// # Errors
/// When there is no such image.
pub fn inspect_image(
    stores: &Stores,
    text: &str,
    platform: Option<&Platform>,
) -> Result<InspectedImage, Error> {
    let (_, local) = images::find(stores, text)?;
    let mut tags = Vec::new();
    let mut digests = Vec::new();
    for Named { name, manifest } in images::names_of(stores, &local)? {
        tags.push(name.familiar());
        digests.push(format!("{}@{manifest}", name.familiar_repository()));
    }
    digests.dedup();
    let image = match platform {
        Some(_) => local.choose(text, platform)?,
        None => local.representative(),
    };
    let descriptor = match platform {
        Some(_) => &image.descriptor,
        None => local.descriptor(),
    };
    Ok(InspectedImage {
        id: local.id(),
        tags,
        digests,
        size_bytes: sizes::size_of(stores, std::slice::from_ref(image)),
        config: image.config.clone(),
        descriptor: descriptor.clone(),
        manifests: local.index.as_ref().map(|index| index.manifests.clone()),
    })
}
