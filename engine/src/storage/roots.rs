//! Images and containers that are kept whatever is collected, and images that are cache.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use kiln_cache::{ImageNote, Stay};
use kiln_containers::ContainerError;
use kiln_oci::{ImageId, Sha256};
use kiln_tree::LayerId;

use super::reach::ManifestReach;
use crate::Error;
use crate::containers;
use crate::images::KnownImages;
use crate::stores::Stores;

/// What becomes of an image that a build made and whose last name moved on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnnamedImages {
    /// It is cache, and goes when room is needed or it was not used for too long.
    #[default]
    AreCache,
    /// It stays until the user removes it.
    Stay,
}

/// What images and containers hold.
#[derive(Debug)]
pub(crate) struct Roots {
    /// Manifests of images that stay.
    pub(crate) manifests: HashSet<Sha256>,
    /// Layers that containers stand on.
    pub(crate) layers: HashSet<LayerId>,
    /// The places in what is known of images that are cache.
    cached: Vec<usize>,
    /// Every name and every image.
    pub(crate) known: KnownImages,
    /// The places of images in what is known, by manifest.
    by_manifest: HashMap<Sha256, usize>,
}

impl Roots {
    pub(crate) fn read(stores: &Stores, unnamed: UnnamedImages) -> Result<Self, Error> {
        let known = KnownImages::read(stores)?;
        let (in_use, layers) = used_by_containers(stores)?;
        let mut manifests: HashSet<Sha256> =
            known.names.iter().map(|named| named.manifest).collect();
        let mut cached = Vec::new();
        let mut by_manifest = HashMap::new();
        for (place, (id, note)) in known.notes.iter().enumerate() {
            let is_cache = unnamed == UnnamedImages::AreCache
                && note.stay == Stay::WhileNamed
                && !manifests.contains(&note.manifest)
                && !in_use.contains(id);
            if is_cache {
                cached.push(place);
            }
            by_manifest.insert(note.manifest, place);
        }
        let others = known.notes.iter().enumerate();
        let others = others.filter(|(place, _)| cached.binary_search(place).is_err());
        manifests.extend(others.map(|(_, (_, note))| note.manifest));
        Ok(Self {
            manifests,
            layers,
            cached,
            known,
            by_manifest,
        })
    }

    /// Returns the images that are cache.
    pub(crate) fn cached(&self) -> impl Iterator<Item = &(ImageId, ImageNote)> {
        self.cached.iter().map(|place| &self.known.notes[*place])
    }

    /// Adds what a manifest leads to.
    pub(crate) fn add_reach(&self, stores: &Stores, manifest: Sha256, reach: &mut ManifestReach) {
        let noted = self.by_manifest.get(&manifest);
        let facts = noted.and_then(|place| self.known.notes[*place].1.facts.as_ref());
        match facts {
            Some(facts) => {
                reach.blobs.insert(manifest);
                reach.blobs.extend(&facts.blobs);
                reach.diff_ids.extend(&facts.diff_ids);
            }
            None => reach.add(&stores.blobs, manifest),
        }
    }
}

/// Returns the images that containers were made of, and the layers that they stand on.
fn used_by_containers(stores: &Stores) -> Result<(HashSet<ImageId>, HashSet<LayerId>), Error> {
    let (mut images, mut layers) = (HashSet::new(), HashSet::new());
    for container in containers::containers(stores)?
        .list()
        .map_err(Error::from)?
    {
        let spec = match container.spec() {
            // Another kiln removed it meanwhile.
            Err(ContainerError::NotFound(_)) => continue,
            other => other,
        };
        // What cannot be read might need anything; its owner must say that it does not.
        let spec = spec.map_err(|error| {
            let id = container.id().short();
            Error::environment(
                format!("cannot tell which layers container {id} needs"),
                error,
            )
            .with_hint(format!("kiln rm {id}"))
        })?;
        images.extend(spec.image_id.parse::<ImageId>().ok());
        layers.extend(spec.own.layers.iter().filter_map(|lower| layer_of(lower)));
    }
    Ok((images, layers))
}

/// Returns the layer in whose directory a lower directory of a container is.
pub(crate) fn layer_of(lower: &Path) -> Option<LayerId> {
    lower.parent()?.file_name()?.to_str()?.parse().ok()
}
