//! The images of the local store: finding them, keeping them, their names.

use std::slice;

use kiln_cache::{ImageFacts, ImageNote, Named, Stay};
use kiln_oci::{ImageId, Sha256, TaggedRef};

use crate::local_image;
use crate::sizes;
use crate::storage::reach::ManifestReach;
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

/// As [`find`], for something that is made of the image or sent elsewhere: one that is called by its
/// digest or id, which a user wrote down somewhere, stays until the user removes it.
pub(crate) fn take(stores: &Stores, text: &str) -> Result<(Option<TaggedRef>, LocalImage), Error> {
    let (name, image) = find(stores, text)?;
    if name.as_ref().is_none_or(|name| name.digest().is_some()) {
        stay(stores, &image)?;
    }
    Ok((name, image))
}

/// Has an image stay until the user removes it.
pub(crate) fn stay(stores: &Stores, image: &LocalImage) -> Result<(), Error> {
    let is_noted = stores.notes.get(image.id()).is_some();
    if is_noted {
        note(stores, image, Stay::UntilRemoved, &[])
    } else {
        // An image that is part of an index only.
        Ok(())
    }
}

fn find_by_id(stores: &Stores, text: &str) -> Result<Option<LocalImage>, Error> {
    let prefix = text.strip_prefix("sha256:").unwrap_or(text);
    let is_hex = prefix.bytes().all(|b| b.is_ascii_hexdigit());
    if prefix.is_empty() || prefix.len() > 64 || !is_hex {
        return Ok(None);
    }
    let prefix = prefix.to_ascii_lowercase();
    if let Ok(id) = Sha256::from_hex(&prefix) {
        let noted = stores.notes.get(ImageId(id));
        return Ok(noted.and_then(|note| local_image::read(stores, note.manifest).ok()));
    }
    let found = stores.notes.starting_with(&prefix).map_err(unreadable)?;
    let mut found = found
        .into_iter()
        .filter_map(|(_, note)| local_image::read(stores, note.manifest).ok());
    match (found.next(), found.next()) {
        (Some(image), None) => Ok(Some(image)),
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(Error::input(format!(
            "multiple IDs found with provided prefix: {text}"
        ))),
    }
}

/// Makes an image that a build made findable by its id, and gives it names.
///
/// # Errors
/// When that cannot be written, or the user asked to stop before a name was given.
pub(crate) fn name_built(
    stores: &Stores,
    image: &LocalImage,
    names: &[TaggedRef],
) -> Result<(), Error> {
    // What has no name was asked for by its id.
    let stay = if names.is_empty() {
        Stay::UntilRemoved
    } else {
        Stay::WhileNamed
    };
    note(stores, image, stay, names)?;
    set_names(stores, image, names)
}

/// The same for an image from elsewhere, which may have no layer unpacked yet: that its config is
/// the one of an image that is here does not make it that image.
pub(crate) fn name_foreign(
    stores: &Stores,
    image: &LocalImage,
    names: &[TaggedRef],
) -> Result<(), Error> {
    keep_foreign(stores, image, names)?;
    set_names(stores, image, names)
}

/// Makes an image from elsewhere findable by its id, before it gets names.
pub(crate) fn keep_foreign(
    stores: &Stores,
    image: &LocalImage,
    names: &[TaggedRef],
) -> Result<(), Error> {
    let known = stores.notes.get(image.id());
    let known = known.and_then(|note| local_image::read(stores, note.manifest).ok());
    let noted = known.as_ref().unwrap_or(image);
    note(stores, noted, Stay::UntilRemoved, names)
}

/// Gives an image another name.
pub(crate) fn name_again(
    stores: &Stores,
    image: &LocalImage,
    name: &TaggedRef,
) -> Result<(), Error> {
    note(stores, image, Stay::WhileNamed, slice::from_ref(name))?;
    set_names(stores, image, slice::from_ref(name))
}

/// Has names stand for an image whose note has them.
fn set_names(stores: &Stores, image: &LocalImage, names: &[TaggedRef]) -> Result<(), Error> {
    let manifest = image.descriptor().digest;
    for name in names {
        stores.go_on()?;
        // One that is damaged is made whole.
        let before = stores.tags.get(name).unwrap_or_default();
        stores.tags.set(name, manifest).map_err(names_error)?;
        if let Some(before) = before.filter(|before| *before != manifest)
            && let Ok(image) = local_image::read(stores, before)
        {
            // Until now it was in use. Without a note of that it is cache that is a little older.
            let _ = stores.notes.touch(image.id());
        }
    }
    Ok(())
}

/// Writes down what lists and collection have to know of an image. One that stays until it is removed
/// is not made to go earlier.
fn note(stores: &Stores, image: &LocalImage, stay: Stay, names: &[TaggedRef]) -> Result<(), Error> {
    let manifest = image.descriptor().digest;
    let change = |before: Option<ImageNote>| {
        let is_new = before.is_none();
        let mut note = before.unwrap_or(ImageNote {
            manifest,
            stay,
            names: None,
            facts: None,
        });
        if stay == Stay::UntilRemoved {
            note.stay = stay;
        }
        if note.manifest != manifest || note.facts.is_none() {
            note.manifest = manifest;
            note.facts = facts(stores, image);
        }
        // Of an image that an older kiln noted not all names are known.
        let known = note.names.take().or(is_new.then(Vec::new));
        note.names = known.map(|mut known| {
            let new: Vec<_> = names.iter().filter(|name| !known.contains(name)).collect();
            if !new.is_empty() {
                let is_its = |name: &TaggedRef| {
                    let stands_for = stores.tags.get(name).ok().flatten();
                    stands_for.is_some_and(|found| is_manifest_of(stores, found, image, manifest))
                };
                known.retain(is_its);
                known.extend(new.into_iter().cloned());
            }
            known
        });
        note
    };
    stores
        .notes
        .update(image.id(), change)
        .map_err(|error| Error::environment("cannot note an image", error))
}

/// Says whether a manifest is one of an image, which may have several.
fn is_manifest_of(stores: &Stores, found: Sha256, image: &LocalImage, manifest: Sha256) -> bool {
    found == manifest
        || local_image::read(stores, found).is_ok_and(|found| found.id() == image.id())
}

/// Returns what never changes of an image; none of an index, more of which can be fetched, and of an
/// image with a layer whose length is not known.
pub(crate) fn facts(stores: &Stores, image: &LocalImage) -> Option<ImageFacts> {
    let [single] = image.images() else {
        return None;
    };
    if image.is_index() {
        return None;
    }
    let mut reach = ManifestReach::default();
    reach.add(&stores.blobs, image.descriptor().digest);
    let (mut blobs, mut diff_ids): (Vec<_>, Vec<_>) = (
        reach.blobs.into_iter().collect(),
        reach.diff_ids.into_iter().collect(),
    );
    blobs.sort_unstable();
    diff_ids.sort_unstable();
    Some(ImageFacts {
        created: single.config.created,
        size_bytes: sizes::exact_size_of(stores, single)?,
        blobs,
        diff_ids,
    })
}

/// Returns the names of an image, sorted.
///
/// # Errors
/// When a name cannot be read.
pub(crate) fn names_of(stores: &Stores, image: &LocalImage) -> Result<Vec<Named>, Error> {
    let noted = stores.notes.get(image.id()).and_then(|note| note.names);
    let mut named = match noted {
        None => names(stores)?,
        Some(noted) => {
            let mut named = Vec::new();
            for name in noted {
                if let Some(manifest) = stores.tags.get(&name).map_err(names_error)? {
                    named.push(Named { name, manifest });
                }
            }
            named
        }
    };
    let manifest = image.descriptor().digest;
    named.retain(|named| is_manifest_of(stores, named.manifest, image, manifest));
    named.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(named)
}

/// Every name, and what is noted of every image.
#[derive(Debug)]
pub(crate) struct KnownImages {
    pub(crate) names: Vec<Named>,
    pub(crate) notes: Vec<(ImageId, ImageNote)>,
}

impl KnownImages {
    pub(crate) fn read(stores: &Stores) -> Result<Self, Error> {
        Ok(Self {
            names: names(stores)?,
            notes: stores.notes.starting_with("").map_err(unreadable)?,
        })
    }
}

fn unreadable(error: std::io::Error) -> Error {
    Error::environment("cannot list the local images", error)
}

pub(crate) fn names(stores: &Stores) -> Result<Vec<Named>, Error> {
    stores.tags.list().map_err(names_error)
}

pub(crate) fn names_error(error: kiln_cache::NamesError) -> Error {
    Error::environment("cannot read or write a name in the local store", error)
}
