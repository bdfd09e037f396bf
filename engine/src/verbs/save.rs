//! From the local store into an archive.

use kiln_exporter::NamedImage;
use kiln_oci::{Platform, TaggedRef};
use kiln_registry::Client;

use crate::images;
use crate::io::Io;
use crate::output::{destination, pack};
use crate::repair;
use crate::stores::Stores;
use crate::{Destination, Error, ImageOutput, LocalImage};

/// Writes images, or of indexes the images for `platform`, into one archive for `docker load`;
/// it is an OCI layout too. `warn` is told what was damaged and is repaired.
///
/// # Errors
/// When one of them is not here, or the archive cannot be written.
pub fn save(
    stores: &Stores,
    client: &Client,
    names: &[String],
    platform: Option<&Platform>,
    to: &Destination,
    io: &Io<'_>,
    warn: &dyn Fn(&str),
) -> Result<(), Error> {
    stores.store.admit_collection();
    let mut images: Vec<(LocalImage, Vec<TaggedRef>)> = Vec::new();
    for text in names {
        let (name, image) = images::take(stores, text)?;
        let image = image.narrowed(text, platform)?;
        let name = name.filter(|name| name.digest().is_none());
        match images
            .iter_mut()
            .find(|(known, _)| known.id() == image.id())
        {
            Some((_, names)) => {
                let new = name.filter(|name| !names.contains(name));
                names.extend(new);
            }
            None => images.push((image, name.into_iter().collect())),
        }
    }
    let make = || {
        let images = images.iter();
        let named = images.map(|(image, names)| {
            pack::resolve_here_for_export(
                stores,
                client,
                image,
                &ImageOutput::default(),
                names.clone(),
                &|_| (),
            )
        });
        named.collect::<Result<Vec<NamedImage>, Error>>()
    };
    let listed = platform.cloned().unwrap_or_else(Platform::host);
    repair::deliver(stores, warn, make, |images| {
        destination::write_to(stores, to, io, |out| {
            kiln_exporter::write_archive(images, &listed, out)
        })
    })?;
    Ok(())
}
