//! From a registry into the local store.

use std::slice;

use kiln_oci::{Platform, Sha256, TaggedRef};
use kiln_registry::{Client, Observer};

use crate::images;
use crate::origins;
use crate::stores::Stores;
use crate::{Error, LocalImage};

/// What a pull came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// What the name means now: an index, or a manifest.
    pub digest: Sha256,
    /// What the image runs on.
    pub platform: Platform,
    /// Whether the name meant something else here before, or nothing.
    pub is_newer: bool,
}

/// Fetches an image with its layers and gives it its name.
///
/// # Errors
/// When the registry does not have it or the network fails.
pub fn pull(
    stores: &Stores,
    client: &Client,
    name: &TaggedRef,
    platform: &Platform,
    observer: Observer<'_>,
) -> Result<Pulled, Error> {
    stores.store.admit_collection();
    let failed = |error: kiln_registry::Error| Error::registry(Some(name), error);
    let pulled = client
        .pull(name, platform, &stores.blobs, observer)
        .map_err(failed)?;
    client
        .fetch_blobs(name, &pulled.layers, &stores.blobs, observer)
        .map_err(failed)?;
    let image = kiln_cache::read_image(&stores.blobs, pulled.manifest.digest)
        .map_err(|error| Error::environment("cannot read a pulled image", error))?;
    origins::remember_origin(stores, name, &image);
    let platform = image.config.platform();
    let image = LocalImage::single(image);
    if name.digest().is_some() {
        images::keep_foreign(stores, &image, &[])?;
        stores.settle()?;
        return Ok(Pulled {
            digest: pulled.top.digest,
            platform,
            is_newer: true,
        });
    }
    let before = stores.tags.get(name).unwrap_or_default();
    images::name_foreign(stores, &image, slice::from_ref(name))?;
    Ok(Pulled {
        digest: pulled.top.digest,
        platform,
        is_newer: before != Some(pulled.manifest.digest),
    })
}
