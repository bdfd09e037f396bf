//! Where blobs came from: noted, and fetched from there again.

use kiln_exporter::{copy_from_layout, layouts, remember_source, sources};
use kiln_oci::{Descriptor, Image, ImageRef};
use kiln_registry::Client;

use crate::Error;
use crate::stores::Stores;

/// Notes where the layers of an image came from, so that they can be fetched when they are
/// needed and mounted when they are pushed.
pub(crate) fn remember_origin(stores: &Stores, name: &ImageRef, image: &Image) {
    for (_, descriptor) in image.layers() {
        // Without the note the layer is uploaded; nothing is lost.
        let _ = remember_source(&stores.store, &stores.blobs, descriptor.digest, name);
    }
}

/// Fetches a blob from wherever it is known to be.
pub(crate) fn fetch_from_origin(
    stores: &Stores,
    client: &Client,
    descriptor: &Descriptor,
) -> Result<(), Error> {
    if stores.blobs.has(descriptor) {
        return Ok(());
    }
    let mut failure = Error::environment_stated(format!(
        "layer {} is neither here nor known elsewhere",
        descriptor.digest
    ))
    .with_hint("pull or build the image again");
    for origin in sources(&stores.blobs, descriptor.digest) {
        match client.fetch_blob(&origin, descriptor, &stores.blobs, &|_| {}) {
            Ok(()) => return Ok(()),
            Err(error) => failure = Error::registry(Some(&origin), error),
        }
    }
    for directory in layouts(&stores.blobs, descriptor.digest) {
        match copy_from_layout(&directory, descriptor.digest, &stores.blobs) {
            Ok(()) => return Ok(()),
            Err(_) if stores.store.stop().is_asked() => return Err(Error::Cancelled),
            Err(error) => failure = Error::environment("cannot read the cache", error),
        }
    }
    Err(failure)
}
