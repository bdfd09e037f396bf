//! `index.json`: what OCI layouts go by (OCI image-spec v1.1, image-layout.md).

use std::collections::{BTreeMap, HashMap};

use kiln_cache::{Blobs, ImageError};
use kiln_oci::{
    Descriptor, DiffId, Document, Image, Index, MediaKind, Platform, SelectError, Sha256,
    TaggedRef, parse_manifest, select,
};
use rayon::prelude::*;

use super::contents::ArchiveContents;
use super::error::LoadError;
use super::layer::{self, WantedLayer};
use super::loaded::{LayoutEntry, Loaded, LoadedIndex, Platforms, parse_tag};
use crate::members::{IMAGE_NAME, REF_NAME, blob_path};

/// Loads the images of `index.json`.
pub(crate) fn load(
    contents: &ArchiveContents,
    index: &[u8],
    blobs: &Blobs,
    wanted: Platforms<'_>,
) -> Result<Vec<Loaded>, LoadError> {
    let mut loaded: Vec<Loaded> = Vec::new();
    for descriptor in parse_index("index.json", index)?.images().cloned() {
        let name = name_of(&descriptor)?;
        let is_index = MediaKind::of(&descriptor.media_type) == MediaKind::Index;
        let digest = match wanted {
            Platforms::Only(platform) => manifest_for(contents, &descriptor, platform)?,
            Platforms::All => descriptor.digest,
        };
        match loaded.iter_mut().find(|known| known.top() == digest) {
            Some(known) => {
                let new = name.filter(|name| !known.names.contains(name));
                known.names.extend(new);
            }
            None if is_index && wanted == Platforms::All => {
                let mut whole = load_index(contents, &descriptor, blobs)?;
                whole.names.extend(name);
                loaded.push(whole);
            }
            None => loaded.push(Loaded {
                names: name.into_iter().collect(),
                image: load_image(contents, digest, blobs)?,
                index: None,
            }),
        }
    }
    if loaded.is_empty() {
        Err(LoadError::NoImages)
    } else {
        Ok(loaded)
    }
}

/// Brings one image of a layout into the store: of an index, that for `platform`.
pub(crate) fn load_one(
    contents: &ArchiveContents,
    wanted: LayoutEntry<'_>,
    blobs: &Blobs,
    platform: &Platform,
) -> Result<Image, LoadError> {
    let index = contents
        .document("index.json")?
        .ok_or_else(|| LoadError::MissingMember("index.json".to_owned()))?;
    let top = parse_index("index.json", &index)?;
    let digest = match wanted {
        LayoutEntry::Digest(digest) => {
            // A layout lists what is on top and nothing below, so the type is not known yet.
            let descriptor = Descriptor::of("", &verified(contents, digest)?);
            manifest_for(contents, &descriptor, platform)?
        }
        LayoutEntry::Tag(tag) => {
            let images = top.images().cloned();
            let (tagged, others): (Vec<_>, Vec<_>) =
                images.partition(|entry| tag_of(entry).as_deref() == Some(tag));
            match tagged.as_slice() {
                [] => {
                    let mut known: Vec<String> = others.iter().filter_map(tag_of).collect();
                    known.sort();
                    known.dedup();
                    return Err(LoadError::NoTag {
                        tag: tag.to_owned(),
                        known,
                    });
                }
                [only] => manifest_for(contents, only, platform)?,
                // Some builders write one entry for each platform, all with the same tag.
                [first, ..] => {
                    let best = best_of(contents, tagged.clone(), platform)?;
                    let best = best.ok_or_else(|| LoadError::NoPlatform {
                        digest: first.digest,
                        platform: platform.clone(),
                    })?;
                    manifest_for(contents, &best, platform)?
                }
            }
        }
    };
    // A manifest is stored after everything it names was verified.
    match kiln_cache::read_image(blobs, digest) {
        Ok(image) if image.layers().all(|(_, layer)| blobs.has(layer)) => Ok(image),
        _ => load_image(contents, digest, blobs),
    }
}

/// Returns the tag of an entry: free text, or that of its full name.
fn tag_of(descriptor: &Descriptor) -> Option<String> {
    let text = descriptor.annotations.get(REF_NAME);
    text.cloned().or_else(|| {
        let name: TaggedRef = descriptor.annotations.get(IMAGE_NAME)?.parse().ok()?;
        name.tag().map(str::to_owned)
    })
}

/// Parses an index. Entries whose digest kiln cannot verify are left out.
fn parse_index(path: &str, bytes: &[u8]) -> Result<Index, LoadError> {
    match Document::parse(bytes, None) {
        Ok(Document::Index(index)) => Ok(index),
        Ok(Document::Manifest(_)) => Err(LoadError::NoIndex(path.to_owned())),
        Err(source) => Err(LoadError::Document {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Returns the name in an entry's annotations, if one is there in full.
fn name_of(descriptor: &Descriptor) -> Result<Option<TaggedRef>, LoadError> {
    let annotations: &BTreeMap<String, String> = &descriptor.annotations;
    if let Some(name) = annotations.get(IMAGE_NAME) {
        return parse_tag(name);
    }
    // Free text: a mere tag names nothing, anything else may be a name.
    let name = annotations
        .get(REF_NAME)
        .filter(|name| name.contains(['/', ':']));
    Ok(name.and_then(|name| parse_tag(name).ok().flatten()))
}

/// Returns the entry that serves `platform` best among those that are here.
fn best_of(
    contents: &ArchiveContents,
    entries: Vec<Descriptor>,
    platform: &Platform,
) -> Result<Option<Descriptor>, LoadError> {
    for entry in Index::oci(entries).candidates(platform) {
        if contents.find(&blob_path(entry.digest))?.is_some() {
            return Ok(Some(entry.clone()));
        }
    }
    Ok(None)
}

/// Returns the manifest for `platform` that an entry is or leads to.
fn manifest_for(
    contents: &ArchiveContents,
    descriptor: &Descriptor,
    platform: &Platform,
) -> Result<Sha256, LoadError> {
    if MediaKind::of(&descriptor.media_type) == MediaKind::Manifest {
        return Ok(descriptor.digest);
    }
    let mut read = |part: &Descriptor| -> Result<_, LoadError> {
        // Archives of one platform keep the index of all.
        let path = blob_path(part.digest);
        if part.digest != descriptor.digest && contents.find(&path)?.is_none() {
            return Ok(None);
        }
        let bytes = verified(contents, part.digest)?;
        // The digest says which bytes are meant, so their own word counts.
        let document = Document::parse(&bytes, None);
        Ok(Some(
            document.map_err(|source| LoadError::Document { path, source })?,
        ))
    };
    match select(descriptor, platform, &mut read) {
        Ok((manifest, _)) => Ok(manifest.digest),
        Err(SelectError::Read(error)) => Err(error),
        Err(SelectError::NoPlatform { .. } | SelectError::TooDeep(_)) => {
            Err(LoadError::NoPlatform {
                digest: descriptor.digest,
                platform: platform.clone(),
            })
        }
    }
}

/// Loads an index with its images, as far as they are there.
fn load_index(
    contents: &ArchiveContents,
    descriptor: &Descriptor,
    blobs: &Blobs,
) -> Result<Loaded, LoadError> {
    let bytes = verified(contents, descriptor.digest)?;
    let path = blob_path(descriptor.digest);
    let mut images = Vec::new();
    for entry in parse_index(&path, &bytes)?.images() {
        let is_manifest = MediaKind::of(&entry.media_type) == MediaKind::Manifest;
        if is_manifest && contents.find(&blob_path(entry.digest))?.is_some() {
            images.push(load_image(contents, entry.digest, blobs)?);
        }
    }
    let configs = images.iter().map(|image| image.id().0).collect();
    let Some(first) = images.into_iter().next() else {
        return Err(LoadError::NoImages);
    };
    blobs.put(&bytes)?;
    Ok(Loaded {
        names: Vec::new(),
        image: first,
        index: Some(LoadedIndex {
            descriptor: Descriptor::of(&descriptor.media_type, &bytes),
            configs,
        }),
    })
}

fn load_image(
    contents: &ArchiveContents,
    digest: Sha256,
    blobs: &Blobs,
) -> Result<Image, LoadError> {
    let manifest_bytes = verified(contents, digest)?;
    let manifest = parse_manifest(digest, &manifest_bytes).map_err(ImageError::from)?;
    let config_bytes = verified(contents, manifest.config.digest)?;
    check_size(&manifest.config, config_bytes.len() as u64)?;
    let image =
        Image::parse(digest, &manifest_bytes, manifest, &config_bytes).map_err(ImageError::from)?;
    // A layer that occurs twice is stored once.
    let wanted: HashMap<Sha256, (DiffId, &Descriptor)> = image
        .layers()
        .filter(|(_, layer)| is_here(layer))
        .map(|(diff_id, layer)| (layer.digest, (diff_id, layer)))
        .collect();
    kiln_threads::prepare_pool();
    wanted
        .into_par_iter()
        .try_for_each(|(digest, (diff_id, descriptor))| {
            let wanted = WantedLayer {
                path: blob_path(digest),
                diff_id,
                digest: Some(digest),
            };
            let stored = layer::store(contents, blobs, &wanted)?;
            check_size(descriptor, stored.size_bytes)
        })?;
    blobs.put(&config_bytes)?;
    blobs.put(&manifest_bytes)?;
    Ok(image)
}

/// Refuses content that has not the size that its descriptor says: registries and other programs
/// would refuse it when it is too late.
fn check_size(descriptor: &Descriptor, actual_bytes: u64) -> Result<(), LoadError> {
    if actual_bytes == descriptor.size_bytes {
        return Ok(());
    }
    Err(LoadError::WrongSize {
        member: blob_path(descriptor.digest),
        expected_bytes: descriptor.size_bytes,
        actual_bytes,
    })
}

/// Says whether a layer's bytes should be in the layout: foreign ones are elsewhere.
fn is_here(layer: &Descriptor) -> bool {
    !matches!(MediaKind::of(&layer.media_type), MediaKind::ForeignLayer(_))
}

/// Reads a manifest, index or config and checks that it is the one meant.
fn verified(contents: &ArchiveContents, digest: Sha256) -> Result<Vec<u8>, LoadError> {
    let path = blob_path(digest);
    let bytes = contents
        .document(&path)?
        .ok_or(LoadError::MissingMember(path))?;
    let actual = Sha256::of(&bytes);
    if actual == digest {
        Ok(bytes)
    } else {
        Err(kiln_cache::BlobError::Mismatch {
            expected: digest,
            actual,
        }
        .into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_named_by_digest_has_no_tag() {
        let digest = Sha256::of(b"x");
        for (key, name, expected) in [
            (IMAGE_NAME, "x:y".to_owned(), Some("docker.io/library/x:y")),
            (IMAGE_NAME, format!("x@{digest}"), None),
            (IMAGE_NAME, format!("x:y@{digest}"), None),
            (REF_NAME, format!("h/x@{digest}"), None),
            (REF_NAME, "h:5/x".to_owned(), Some("h:5/x:latest")),
            (REF_NAME, "latest".to_owned(), None),
        ] {
            let mut descriptor = Descriptor::of("", b"");
            descriptor.annotations.insert(key.to_owned(), name.clone());
            let found = name_of(&descriptor).unwrap();
            let found = found.map(|found| found.to_string());
            assert_eq!(found.as_deref(), expected, "{name}");
        }
    }
}
