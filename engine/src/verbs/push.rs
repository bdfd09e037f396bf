//! From the local store to a registry.

use kiln_exporter::PackObserver;
use kiln_oci::{Platform, Sha256, TaggedRef};
use kiln_registry::{Client, Observer};

use crate::images::names_error;
use crate::local_image;
use crate::output::{Listeners, push};
use crate::stores::Stores;
use crate::{Error, ImageOutput, PushAs};

/// Pushes a local image under its name, or of an index the image for `platform`, and returns
/// digest and length of what the tag means now. Tells `packing` of layers that have to be packed
/// before they can be sent, and `warn` what was damaged and is repaired.
///
/// # Errors
/// When there is no such image, or the registry does not take it.
pub fn push(
    stores: &Stores,
    client: &Client,
    name: &TaggedRef,
    platform: Option<&Platform>,
    observer: Observer<'_>,
    packing: PackObserver<'_>,
    warn: &dyn Fn(&str),
) -> Result<(Sha256, u64), Error> {
    stores.store.admit_collection();
    let manifest = stores.tags.get(name).map_err(names_error)?.ok_or_else(|| {
        Error::input(format!(
            "An image does not exist locally with the tag: {}",
            name.familiar_repository()
        ))
    })?;
    let image = local_image::read(stores, manifest)?.narrowed(&name.familiar(), platform)?;
    let options = ImageOutput::default();
    let listeners = Listeners {
        transfers: observer,
        packing,
        warn,
    };
    let pushed = push::push_image(
        stores,
        client,
        name,
        &image,
        &options,
        PushAs::Tags,
        listeners,
    )?;
    let top = &pushed.root.descriptor;
    Ok((top.digest, top.size_bytes))
}
