//! Images as the store keeps them: what a build without `--output` leaves.
//!
//! The manifest of a local image describes the base's layers as the registry does, so that pushing
//! them moves no bytes, and each new layer as an uncompressed tar whose digest is its diff id. The
//! blobs of new layers do not exist: such a tar can be made from the layer at any time, and
//! compressing it is put off until the image is pushed or exported
//! ([`crate::resolve_for_export`]). Manifest and config are functions of what is in the image, so a
//! build that changes nothing finds both in the store and writes nothing.

use std::collections::BTreeMap;

use kiln_cache::{BlobError, Blobs};
use kiln_oci::{Descriptor, DiffId, Image, ImageConfig, Index, Manifest, media_type};
use kiln_snapshotter::TarFacts;

use crate::options::MediaFamily;
use crate::resolve::in_family;

/// Why an image could not be put into the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreImageError {
    /// The config lists other layers than there are.
    #[error("config lists diff ids {listed:?} for layers {layers:?}")]
    Layers {
        /// The diff ids in the config.
        listed: Vec<DiffId>,
        /// The diff ids of base and new layers.
        layers: Vec<DiffId>,
    },
    /// The store cannot be written.
    #[error(transparent)]
    Blob(#[from] BlobError),
}

/// Stores config and manifest of an image with new `layers` on top of `base`, lowest first, each
/// given as kiln's own tar of it ([`kiln_snapshotter::Layer::canonical_tar`]). The
/// manifest has these annotations and none of the base's.
///
/// # Errors
/// When the config lists other layers, or the store fails.
pub fn store_image(
    blobs: &Blobs,
    config: ImageConfig,
    base: Option<&Image>,
    layers: &[TarFacts],
    annotations: BTreeMap<String, String>,
) -> Result<Image, StoreImageError> {
    let mut descriptors = base.map_or_else(Vec::new, |base| base.manifest.layers.clone());
    let mut diff_ids = base.map_or_else(Vec::new, |base| base.config.rootfs.diff_ids.clone());
    for tar in layers {
        diff_ids.push(tar.diff_id);
        descriptors.push(Descriptor::new(
            media_type::OCI_LAYER,
            tar.diff_id.0,
            tar.size_bytes,
        ));
    }
    if config.rootfs.diff_ids != diff_ids {
        return Err(StoreImageError::Layers {
            listed: config.rootfs.diff_ids,
            layers: diff_ids,
        });
    }
    let config_bytes = config.to_bytes();
    blobs.put(&config_bytes)?;
    let mut manifest = Manifest::oci(
        Descriptor::of(media_type::OCI_CONFIG, &config_bytes),
        descriptors,
    );
    manifest.annotations = annotations;
    let manifest_bytes = manifest.to_bytes();
    blobs.put(&manifest_bytes)?;
    Ok(Image {
        descriptor: Descriptor::of(media_type::OCI_MANIFEST, &manifest_bytes),
        manifest,
        config,
    })
}

/// Stores the manifest of a stored image again with the media types of `family`, unless it has them.
///
/// # Errors
/// When the store fails.
pub fn store_in_family(
    blobs: &Blobs,
    image: Image,
    family: MediaFamily,
) -> Result<Image, BlobError> {
    if MediaFamily::of(&image.descriptor.media_type) == family {
        return Ok(image);
    }
    let manifest = in_family(image.manifest, family);
    let bytes = manifest.to_bytes();
    blobs.put(&bytes)?;
    Ok(Image {
        descriptor: Descriptor::of(family.manifest(), &bytes),
        manifest,
        config: image.config,
    })
}

/// Stores an index of images in the order given and returns its descriptor. What the images'
/// descriptors say of platform and annotations, the index says; without a platform it is that of
/// the config.
///
/// # Errors
/// When the store fails.
pub fn store_index(
    blobs: &Blobs,
    images: &[Image],
    family: MediaFamily,
    annotations: BTreeMap<String, String>,
) -> Result<(Descriptor, Index), BlobError> {
    let entries = images.iter().map(|image| {
        let mut entry = image.descriptor.clone();
        entry
            .platform
            .get_or_insert_with(|| image.config.platform());
        entry
    });
    let mut index = Index::oci(entries.collect());
    index.media_type = Some(family.index().to_owned());
    // Docker's lists have no annotations.
    if family == MediaFamily::Oci {
        index.annotations = annotations;
    }
    let bytes = index.to_bytes();
    blobs.put(&bytes)?;
    Ok((Descriptor::of(family.index(), &bytes), index))
}
