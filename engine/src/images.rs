//! The images of the local store: finding them, keeping them, their names.

use kiln_cache::Named;
use kiln_oci::{Sha256, TaggedRef};

use crate::local_image;
use crate::stores::Stores;
use crate::{Error, LocalImage};

/// Finds a local image by name, digest, id or the beginning of its id.
///
/// # Errors
/// [`Error::NoSuchImage`] if there is none.
pub fn find(stores: &Stores, text: &str) -> Result<(Option<TaggedRef>, LocalImage), Error> {
    if let Ok(name) = text.parse::<TaggedRef>() {
        let manifest = match name.digest() {
            Some(digest) => Some(digest),
            None => stores.tags.get(&name).map_err(names_error)?,
        };
        match (manifest, name.digest()) {
            (Some(manifest), None) => {
                let image = read_named(stores, &name, manifest)?;
                return Ok((Some(name), image));
            }
            (Some(manifest), Some(_)) => {
                if let Ok(image) = local_image::read(stores, manifest) {
                    return Ok((Some(name), image));
                }
            }
            (None, _) => {}
        }
    }
    find_by_id(stores, text)?
        .map(|image| (None, image))
        .ok_or_else(|| Error::NoSuchImage(text.to_owned()))
}

/// Reads what a name of the local store stands for.
///
/// # Errors
/// When it is damaged: that is not the same as absent.
pub(crate) fn read_named(
    stores: &Stores,
    name: &TaggedRef,
    manifest: Sha256,
) -> Result<LocalImage, Error> {
    local_image::read(stores, manifest).map_err(|error| {
        let found = format!("image {} is damaged", name.familiar());
        Error::environment(found, error).with_hint("build, pull or load it again")
    })
}

fn find_by_id(stores: &Stores, text: &str) -> Result<Option<LocalImage>, Error> {
    let prefix = text.strip_prefix("sha256:").unwrap_or(text);
    let is_hex = prefix.bytes().all(|b| b.is_ascii_hexdigit());
    if prefix.is_empty() || prefix.len() > 64 || !is_hex {
        return Ok(None);
    }
    let found = stores
        .ids
        .starting_with(&prefix.to_ascii_lowercase())
        .map_err(|error| Error::environment("cannot list the local images", error))?;
    let mut found = found
        .into_iter()
        .filter_map(|(_, manifest)| local_image::read(stores, manifest).ok());
    match (found.next(), found.next()) {
        (Some(image), None) => Ok(Some(image)),
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(Error::input(format!(
            "multiple IDs found with provided prefix: {text}"
        ))),
    }
}

/// Makes an image findable by its id.
pub(crate) fn keep(stores: &Stores, image: &LocalImage) -> Result<(), Error> {
    stores
        .ids
        .add(image.id(), image.descriptor().digest)
        .map_err(|error| Error::environment("cannot note an image", error))
}

/// The same for an image from elsewhere, which has no layer unpacked yet: that its config is
/// the one of an image that is here does not make it that image.
pub(crate) fn keep_foreign(stores: &Stores, image: &LocalImage) -> Result<(), Error> {
    match stores.ids.get(image.id()) {
        Some(manifest) if local_image::read(stores, manifest).is_ok() => Ok(()),
        _ => keep(stores, image),
    }
}

pub(crate) fn names(stores: &Stores) -> Result<Vec<Named>, Error> {
    stores.tags.list().map_err(names_error)
}

pub(crate) fn names_error(error: kiln_cache::NamesError) -> Error {
    Error::environment("cannot read or write a name in the local store", error)
}
