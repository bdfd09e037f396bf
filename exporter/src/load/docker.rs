//! `manifest.json`: what docker archives go by (docs/spec/oci.md 6.2).

use std::collections::HashMap;

use kiln_cache::Blobs;
use kiln_oci::{Descriptor, DiffId, Image, ImageConfig, Manifest, Sha256, TaggedRef, media_type};
use rayon::prelude::*;

use super::contents::ArchiveContents;
use super::error::LoadError;
use super::layer::{self, WantedLayer};
use super::loaded::{Loaded, parse_tag};
use crate::members::ArchivedImage;

/// Loads the images of `manifest.json`. Of those that are `loaded` already, from the layout that
/// the archive is too, the names are added. A name that the layout has stands for what it has
/// there: of an index this list knows only one image, maybe not the one that was wanted.
pub(crate) fn load(
    contents: &ArchiveContents,
    manifest: &[u8],
    blobs: &Blobs,
    loaded: &mut Vec<Loaded>,
) -> Result<(), LoadError> {
    let images: Vec<ArchivedImage> =
        serde_json::from_slice(manifest).map_err(|source| LoadError::Json {
            path: "manifest.json".to_owned(),
            source,
        })?;
    let has_layout = !loaded.is_empty();
    for archived in images {
        let names = names(&archived)?;
        let config = contents
            .document(&archived.config)?
            .ok_or_else(|| LoadError::MissingMember(archived.config.clone()))?;
        let digest = Sha256::of(&config);
        let is_elsewhere = has_layout && names.iter().all(|name| is_named(loaded, name));
        let known = loaded.iter_mut().find(|known| known.has_config(digest));
        match known {
            Some(known) => {
                let new = names.into_iter().filter(|name| !known.names.contains(name));
                let new: Vec<TaggedRef> = new.collect();
                known.names.extend(new);
            }
            None if is_elsewhere => {}
            None => loaded.push(Loaded {
                image: load_image(contents, &archived, &config, blobs)?,
                names,
                index: None,
            }),
        }
    }
    Ok(())
}

fn is_named(loaded: &[Loaded], name: &TaggedRef) -> bool {
    loaded.iter().any(|known| known.names.contains(name))
}

fn names(archived: &ArchivedImage) -> Result<Vec<TaggedRef>, LoadError> {
    let names = archived.repo_tags.as_deref().unwrap_or_default();
    names
        .iter()
        .filter_map(|name| parse_tag(name).transpose())
        .collect()
}

fn load_image(
    contents: &ArchiveContents,
    archived: &ArchivedImage,
    config_bytes: &[u8],
    blobs: &Blobs,
) -> Result<Image, LoadError> {
    let config: ImageConfig =
        serde_json::from_slice(config_bytes).map_err(|source| LoadError::Json {
            path: archived.config.clone(),
            source,
        })?;
    let diff_ids = &config.rootfs.diff_ids;
    if diff_ids.len() != archived.layers.len() {
        return Err(LoadError::LayerCount {
            config: archived.config.clone(),
            layers: archived.layers.len(),
            diff_ids: diff_ids.len(),
        });
    }
    let wanted: Vec<WantedLayer> = archived
        .layers
        .iter()
        .zip(diff_ids)
        .map(|(path, &diff_id)| WantedLayer {
            path: path.clone(),
            diff_id,
            digest: digest_in(path),
        })
        .collect();
    // A layer that occurs twice is stored once.
    let once: HashMap<DiffId, &WantedLayer> =
        wanted.iter().map(|layer| (layer.diff_id, layer)).collect();
    kiln_threads::prepare_pool();
    let stored: HashMap<DiffId, Descriptor> = once
        .into_par_iter()
        .map(|(diff_id, wanted)| Ok((diff_id, layer::store(contents, blobs, wanted)?)))
        .collect::<Result<_, LoadError>>()?;
    blobs.put(config_bytes)?;
    let layers = diff_ids
        .iter()
        .map(|diff_id| stored[diff_id].clone())
        .collect();
    let config = Descriptor::of(media_type::OCI_CONFIG, config_bytes);
    let manifest = blobs.put(&Manifest::oci(config, layers).to_bytes())?;
    Ok(kiln_cache::read_image(blobs, manifest)?)
}

/// Returns the digest that a path in a layout promises; other paths promise none.
fn digest_in(path: &str) -> Option<Sha256> {
    let hex = path.strip_prefix("blobs/sha256/")?;
    Sha256::from_hex(hex).ok()
}
