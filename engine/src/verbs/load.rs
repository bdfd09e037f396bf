//! From an archive or layout into the local store.

use kiln_exporter::{LoadError, LoadSource, Loaded, Platforms};
use kiln_oci::{ImageId, Platform, TaggedRef};

use crate::error::unpack_hint;
use crate::images;
use crate::local_image;
use crate::stores::Stores;
use crate::{Error, LocalImage};

/// Takes the images of an archive or layout in, or of indexes the images for `platform`, and
/// returns their names and ids.
///
/// # Errors
/// When it holds no images or one of them is damaged.
pub fn load(
    stores: &Stores,
    from: LoadSource<'_>,
    platform: Option<&Platform>,
) -> Result<Vec<(Vec<TaggedRef>, ImageId)>, Error> {
    stores.store.admit_collection();
    let wanted = platform.map_or(Platforms::All, Platforms::Only);
    let loaded = kiln_exporter::load(
        from,
        &stores.store,
        &stores.blobs,
        wanted,
        stores.layers.limit(),
    )
    .map_err(|error| stores.or_cancelled(load_error(error)))?;
    let mut result = Vec::new();
    for Loaded {
        names,
        image,
        index,
    } in loaded
    {
        let image = match index {
            Some(index) => local_image::read(stores, index.descriptor.digest)?,
            None => LocalImage::single(image),
        };
        images::name_foreign(stores, &image, &names)?;
        result.push((names, image.id()));
    }
    stores.settle()?;
    Ok(result)
}

/// Says what an archive would have to be.
fn load_error(error: LoadError) -> Error {
    let hint = match &error {
        LoadError::NotAnArchive(_) | LoadError::Tar(_) => {
            "images are in what 'kiln save', 'docker save' or 'kiln build -o type=oci' wrote"
        }
        LoadError::NoImages => {
            "a root file system becomes an image with 'FROM scratch' and 'ADD archive.tar /' in a \
             Dockerfile"
        }
        other => {
            let hint = unpack_hint(other);
            return Error::bad_input(error).with_hint_if(hint);
        }
    };
    Error::bad_input(error).with_hint(hint)
}
