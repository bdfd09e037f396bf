//! Listing the images of the local store.

use std::collections::{HashMap, HashSet};

use kiln_cache::{ImageNote, Named};
use kiln_oci::{ImageId, Sha256, TaggedRef, Timestamp};

use crate::Error;
use crate::images::KnownImages;
use crate::local_image;
use crate::sizes;
use crate::stores::Stores;

/// One row of `kiln images`.
#[derive(Clone, Debug)]
pub struct ImageSummary {
    /// Repository and tag; none for an image without a name.
    pub name: Option<TaggedRef>,
    /// The image's id.
    pub id: ImageId,
    /// The manifest (or index) the name stands for.
    pub manifest: Sha256,
    /// When the image was made.
    pub created: Option<Timestamp>,
    /// Bytes of its layers.
    pub size_bytes: u64,
}

/// Lists the images, newest first. Reads a small file for each name and each image.
///
/// # Errors
/// When the store cannot be read.
pub fn images(stores: &Stores) -> Result<Vec<ImageSummary>, Error> {
    Ok(list(stores, &KnownImages::read(stores)?))
}

/// Lists images of which the names and notes are known.
pub(crate) fn list(stores: &Stores, known: &KnownImages) -> Vec<ImageSummary> {
    let by_manifest: HashMap<Sha256, &(ImageId, ImageNote)> = known
        .notes
        .iter()
        .map(|noted| (noted.1.manifest, noted))
        .collect();
    let mut rows = Vec::new();
    let mut named = HashSet::new();
    for Named { name, manifest } in &known.names {
        let row = match by_manifest.get(manifest) {
            Some((id, note)) => summary(stores, *id, note),
            None => read(stores, *manifest),
        };
        // A name whose content was damaged is not listed; `inspect` says what is wrong.
        if let Some(row) = row {
            named.insert(row.id);
            rows.push(ImageSummary {
                name: Some(name.clone()),
                ..row
            });
        }
    }
    let nameless = known.notes.iter().filter(|(id, _)| !named.contains(id));
    rows.extend(nameless.filter_map(|(id, note)| summary(stores, *id, note)));
    rows.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.name.cmp(&b.name)));
    rows
}

/// Returns a nameless row for an image, of what is noted of it if that says enough.
fn summary(stores: &Stores, id: ImageId, note: &ImageNote) -> Option<ImageSummary> {
    match &note.facts {
        Some(facts) if stores.blobs.contains(note.manifest) => Some(ImageSummary {
            name: None,
            id,
            manifest: note.manifest,
            created: facts.created,
            size_bytes: facts.size_bytes,
        }),
        Some(_) => None,
        None => read(stores, note.manifest),
    }
}

/// Returns a nameless row for an image, of its manifest and config.
fn read(stores: &Stores, manifest: Sha256) -> Option<ImageSummary> {
    let image = local_image::read(stores, manifest).ok()?;
    Some(ImageSummary {
        name: None,
        id: image.id(),
        manifest: image.descriptor().digest,
        created: image.representative().config.created,
        size_bytes: sizes::size_of(stores, image.images()),
    })
}
