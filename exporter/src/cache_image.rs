//! A shared cache as something that registries and layouts hold: layers and a manifest.

use kiln_cache::Blobs;
use kiln_oci::{Descriptor, Index, Manifest, Platform};
use kiln_snapshotter::{LayerError, LayerStore, Packing, TarFacts};
use kiln_tree::LayerId;

use crate::cache_config::{CACHE_CONFIG, LayerPlace, SharedCache, SharedLayer};
use crate::exportable::{ExportDocument, ExportLayer, Exportable, NamedImage};
use crate::options::MediaFamily;
use crate::resolve::{PackObserver, ResolveError, Work, perform};

/// BuildKit's notes on a layer that is listed in an index.
const DIFF_ID: &str = "containerd.io/uncompressed";

/// The kind of manifest that a cache has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheForm {
    /// That of an image.
    #[default]
    Manifest,
    /// An index that lists layers and config as if they were manifests (`image-manifest=false`).
    Index(MediaFamily),
}

/// A layer packed for a cache.
#[derive(Clone, Debug)]
pub struct PackedLayer {
    /// The layer.
    pub id: LayerId,
    /// Its canonical tar.
    pub tar: TarFacts,
    /// Its blob.
    pub blob: ExportLayer,
}

impl PackedLayer {
    /// Returns the layer as records name it.
    #[must_use]
    pub fn shared(&self) -> SharedLayer {
        SharedLayer {
            id: self.id,
            diff_id: self.tar.diff_id,
            tar_bytes: self.tar.size_bytes,
            place: LayerPlace::Blob(Box::new(self.blob.descriptor.clone())),
        }
    }
}

/// Packs layers, each at most once in its life. Those that are described only stay where they are,
/// and as they are packed there.
///
/// # Errors
/// When a layer is neither here nor described, or cannot be packed.
pub fn pack_layers(
    ids: &[LayerId],
    layers: &LayerStore,
    blobs: &Blobs,
    packing: Packing,
    observer: PackObserver<'_>,
) -> Result<Vec<PackedLayer>, ResolveError> {
    let plan = |id: &LayerId| match layers.layer(*id) {
        Some(layer) => Ok(Work::Pack(layer)),
        None => match layers.description(*id) {
            Some(description) => Ok(Work::Keep(description.blob.descriptor)),
            None => Err(LayerError::NotUnpacked(*id).into()),
        },
    };
    let work: Vec<Work> = ids.iter().map(plan).collect::<Result<_, ResolveError>>()?;
    let packed = perform(&work, layers, blobs, packing, observer)?;
    ids.iter()
        .zip(packed)
        .map(|(id, blob)| {
            let tar = match (layers.layer(*id), layers.description(*id)) {
                (Some(layer), _) => layer.canonical_tar()?,
                (None, Some(description)) => description.tar(),
                (None, None) => return Err(LayerError::NotUnpacked(*id).into()),
            };
            Ok(PackedLayer { id: *id, tar, blob })
        })
        .collect()
}

/// Returns a cache with the blobs that it names, each once, as an image without names.
#[must_use]
pub fn cache_image(cache: &SharedCache, blobs: Vec<ExportLayer>, form: CacheForm) -> NamedImage {
    let config = ExportDocument::new(CACHE_CONFIG, cache.to_config());
    let listed = blobs.iter().map(|blob| blob.descriptor.clone());
    let manifest = match form {
        CacheForm::Manifest => {
            let manifest = Manifest::oci(config.descriptor.clone(), listed.collect());
            ExportDocument::new(MediaFamily::Oci.manifest(), manifest.to_bytes())
        }
        CacheForm::Index(family) => {
            let noted = listed.map(|blob| noted(blob, cache, family));
            let mut index = Index::oci(noted.chain([config.descriptor.clone()]).collect());
            index.media_type = Some(family.index().to_owned());
            ExportDocument::new(family.index(), index.to_bytes())
        }
    };
    let parts = Exportable {
        platform: Platform::host(),
        created: None,
        manifest,
        config,
        layers: blobs,
    };
    NamedImage::single(parts, Vec::new())
}

/// Adds what BuildKit wants to know of a layer in an index.
fn noted(blob: Descriptor, cache: &SharedCache, family: MediaFamily) -> Descriptor {
    let mut blob = blob;
    blob.media_type = family.layer(&blob.media_type);
    let is_it = |layer: &&SharedLayer| matches!(&layer.place, LayerPlace::Blob(known) if known.digest == blob.digest);
    let layer = cache.layers().iter().find(is_it);
    let mut mounts = cache.mounts().iter();
    let mount = mounts.find(|mount| mount.blob.digest == blob.digest);
    let diff_id = layer.map(|layer| layer.diff_id);
    if let Some(diff_id) = diff_id.or(mount.map(|mount| mount.diff_id)) {
        blob.annotations
            .insert(DIFF_ID.to_owned(), diff_id.to_string());
    }
    blob
}
