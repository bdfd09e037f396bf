//! Images whose layers are packed as an output wants them.

use kiln_exporter as exporter;
use kiln_exporter::{Exportable, MediaFamily, NamedImage, PackObserver};
use kiln_oci::{Compression, Descriptor, TaggedRef};
use kiln_registry::Client;

use crate::origins;
use crate::packing::packing;
use crate::request::ImageOutput;
use crate::shared_cache::{away, fetch};
use crate::stores::Stores;
use crate::{Error, LocalImage};

/// Packs an image with every layer at hand.
pub(crate) fn resolve_here_for_export(
    stores: &Stores,
    client: &Client,
    image: &LocalImage,
    options: &ImageOutput,
    names: Vec<TaggedRef>,
    packing: PackObserver<'_>,
) -> Result<NamedImage, Error> {
    let fetch = |wanted: &[Descriptor]| {
        for descriptor in wanted {
            origins::fetch_from_origin(stores, client, descriptor)?;
        }
        Ok(())
    };
    let missing = exporter::Missing::Fetch(&fetch);
    resolve_for_export(stores, client, image, options, names, missing, packing)
}

pub(super) fn resolve_for_export(
    stores: &Stores,
    client: &Client,
    local: &LocalImage,
    options: &ImageOutput,
    names: Vec<TaggedRef>,
    missing: exporter::Missing<'_>,
    packing: PackObserver<'_>,
) -> Result<NamedImage, Error> {
    for image in local.images() {
        fetch_what_does_not_fit(stores, client, image, options.compression)?;
    }
    let parts = local.images().iter().map(|image| {
        let options = export_options(options, image);
        exporter::resolve_for_export(
            image,
            &stores.layers,
            &stores.blobs,
            &options,
            missing,
            packing,
        )
        .map_err(|error| match error {
            _ if stores.store.stop().is_asked() => Error::Cancelled,
            exporter::ResolveError::Options(_) => Error::bad_input(error),
            exporter::ResolveError::Fetch(_) => {
                fetch::mark_absent_layers_unavailable(stores, image);
                away(error)
            }
            error => Error::environment("cannot pack the image", error),
        })
    });
    let mut parts: Vec<Exportable> = parts.collect::<Result<_, _>>()?;
    let Some(index) = &local.index else {
        let only = parts.pop().expect("an image has one part");
        return Ok(NamedImage::single(only, names));
    };
    let family = match options.media_types {
        MediaFamily::Oci => MediaFamily::of(&local.descriptor().media_type),
        MediaFamily::Docker => MediaFamily::Docker,
    };
    let is_same = family == MediaFamily::of(&local.descriptor().media_type)
        && parts.len() == index.manifests.len()
        && parts
            .iter()
            .zip(&index.manifests)
            .all(|(part, entry)| part.manifest.descriptor.digest == entry.digest);
    let mut named = NamedImage::index(parts, names, family, index.annotations.clone());
    if is_same {
        // Byte for byte, and so with the same digest.
        let bytes = stores
            .blobs
            .read(local.descriptor().digest)
            .map_err(|error| Error::environment("cannot read an image index", error))?;
        named.root = exporter::ExportDocument::new(&local.descriptor().media_type, bytes);
    }
    named.root.descriptor.annotations = local.descriptor().annotations.clone();
    Ok(named)
}

/// Fetches the layers of an image that another machine packed otherwise than is wanted; the
/// others are found where they are.
fn fetch_what_does_not_fit(
    stores: &Stores,
    client: &Client,
    image: &kiln_oci::Image,
    wanted: Compression,
) -> Result<(), Error> {
    for (diff_id, descriptor) in image.layers() {
        if descriptor.digest == diff_id.0
            && let Some((id, description)) = stores.layers.described_as(diff_id)
        {
            if description.blob.compression == wanted {
                drop(fetch::note_place(stores, &description));
            } else {
                drop(fetch::fulfil_for_image(stores, client, id, &description)?);
            }
        }
    }
    Ok(())
}

fn export_options(options: &ImageOutput, image: &kiln_oci::Image) -> exporter::ImageOptions {
    exporter::ImageOptions {
        packing: packing(options.compression, options.level),
        existing_layers: if options.force {
            exporter::ExistingLayers::Repack
        } else {
            exporter::ExistingLayers::Keep
        },
        media_types: match options.media_types {
            MediaFamily::Oci => None,
            MediaFamily::Docker => Some(MediaFamily::Docker),
        },
        descriptor_annotations: image.descriptor.annotations.clone(),
        ..exporter::ImageOptions::default()
    }
}
