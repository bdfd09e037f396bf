//! From an image of the store to one that others accept.
//!
//! New layers are packed, each at most once: the blob stays in the store and the layer remembers
//! it. Layers that came from elsewhere go out byte for byte as they came, so that a registry or
//! client that has them need not get them again. Media types are all of one family (OCI image-spec
//! v1.1, manifest.md). An image of which nothing changes keeps its manifest, byte for byte, and so
//! its digest.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use kiln_cache::{BlobError, Blobs};
use kiln_oci::{Compression, Descriptor, DiffId, Image, Manifest, MediaKind, Sha256};
use kiln_snapshotter::{KnownBlob, Layer, LayerError, LayerStore, Packing, TarOrigin, UnpackError};

use crate::exportable::{ExportDocument, ExportLayer, Exportable, LayerSource};
use crate::options::{ExistingLayers, ImageOptions, MediaFamily, OptionError};

/// Fetches blobs into the store.
pub type FetchBlobs<'a> =
    dyn Fn(&[Descriptor]) -> Result<(), Box<dyn Error + Send + Sync>> + Sync + 'a;

/// Progress of a layer that is being packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackProgress {
    /// Its tar.
    pub diff_id: DiffId,
    /// Bytes of the tar that are packed; all of them at last.
    pub done_bytes: u64,
    /// Bytes of the tar.
    pub size_bytes: u64,
}

/// An observer of packing. Called from several threads at once, and only for layers that were not
/// packed before.
pub type PackObserver<'a> = &'a (dyn Fn(PackProgress) + Sync);

/// The treatment of layers that are still in a registry.
#[derive(Clone, Copy)]
pub enum Missing<'a> {
    /// They are fetched.
    Fetch(&'a FetchBlobs<'a>),
    /// They stay there: enough for a push, which may find them at its destination.
    Leave,
}

impl fmt::Debug for Missing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fetch(_) => "Fetch",
            Self::Leave => "Leave",
        })
    }
}

/// Why an image cannot be carried elsewhere.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The options contradict each other.
    #[error(transparent)]
    Options(#[from] OptionError),
    /// A layer cannot be read or packed.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// A layer cannot be unpacked, which packing it otherwise begins with.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// A blob cannot be read or written.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// Layers cannot be had from where they are.
    #[error("cannot fetch the layers that are not here")]
    Fetch(#[source] Box<dyn Error + Send + Sync>),
    /// A layer is of a type that cannot be packed anew.
    #[error("layer {digest} of type {media_type} cannot be packed anew")]
    Foreign {
        /// The blob.
        digest: Sha256,
        /// Its type.
        media_type: String,
    },
}

/// Makes an image exportable.
///
/// # Errors
/// See [`ResolveError`].
pub fn resolve_for_export(
    image: &Image,
    layers: &LayerStore,
    blobs: &Blobs,
    options: &ImageOptions,
    missing: Missing<'_>,
    observer: PackObserver<'_>,
) -> Result<Exportable, ResolveError> {
    options.check()?;
    let own_family = MediaFamily::of(&image.descriptor.media_type);
    let family = options.media_types.unwrap_or(own_family);
    let work: Vec<Work> = image
        .layers()
        .map(|(diff_id, descriptor)| plan(diff_id, descriptor, layers, blobs, options))
        .collect::<Result<_, _>>()?;
    let packs_new = work.iter().any(|work| matches!(work, Work::Pack(_)));
    if packs_new {
        family.check(options.packing.compression)?;
    }
    fetch(&work, blobs, missing)?;
    let layers = perform(&work, layers, blobs, options.packing, observer)?;
    let manifest = manifest(image, &layers, family, options);
    let mut document = if manifest == image.manifest {
        ExportDocument::new(
            &image.descriptor.media_type,
            blobs.read(image.descriptor.digest)?,
        )
    } else {
        ExportDocument::new(family.manifest(), manifest.to_bytes())
    };
    let platform = image.config.platform();
    document.descriptor.platform = Some(platform.clone());
    document.descriptor.annotations = options.descriptor_annotations.clone();
    Ok(Exportable {
        platform,
        created: image.config.created,
        manifest: document,
        config: ExportDocument {
            bytes: blobs.read(manifest.config.digest)?,
            descriptor: manifest.config.clone(),
        },
        layers: manifest
            .layers
            .into_iter()
            .zip(layers)
            .map(|(descriptor, layer)| ExportLayer {
                descriptor,
                source: layer.source,
            })
            .collect(),
    })
}

/// The work to be done for one layer.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    /// A new layer.
    Pack(Layer),
    /// One that goes out as it is.
    Keep(Descriptor),
    /// One that is packed otherwise than wanted.
    Repack(KnownBlob),
}

fn plan(
    diff_id: DiffId,
    descriptor: &Descriptor,
    layers: &LayerStore,
    blobs: &Blobs,
    options: &ImageOptions,
) -> Result<Work, ResolveError> {
    let kind = MediaKind::of(&descriptor.media_type);
    // A bare tar that is a blob came as one: new layers have none.
    let is_blob = blobs.has(descriptor);
    if !is_blob && kind == MediaKind::Layer(Compression::None) && descriptor.digest == diff_id.0 {
        let mut layer = new_layer(diff_id, layers)?;
        // There is no such blob anywhere: the layer itself must be here, if not by this name.
        if layer.is_none() && layers.name_lost(diff_id) {
            layer = new_layer(diff_id, layers)?;
        }
        if let Some(layer) = layer {
            return Ok(Work::Pack(layer));
        }
        // One that another machine made and packed.
        if let Some((_, description)) = layers.described_as(diff_id) {
            return Ok(Work::Keep(description.blob.descriptor));
        }
    }
    match (options.existing_layers, kind) {
        (ExistingLayers::Repack, MediaKind::Layer(compression))
            if compression != options.packing.compression =>
        {
            Ok(Work::Repack(KnownBlob {
                diff_id,
                descriptor: descriptor.clone(),
                compression,
                level: None,
                packer: 0,
            }))
        }
        (ExistingLayers::Repack, MediaKind::Other) => Err(ResolveError::Foreign {
            digest: descriptor.digest,
            media_type: descriptor.media_type.clone(),
        }),
        _ => Ok(Work::Keep(descriptor.clone())),
    }
}

/// Returns the layer whose own tar has this digest, if it is here.
fn new_layer(diff_id: DiffId, layers: &LayerStore) -> Result<Option<Layer>, ResolveError> {
    // All empty layers are the same.
    if diff_id == DiffId::EMPTY {
        return Ok(Some(layers.empty()?));
    }
    let Some(layer) = layers.by_diff_id(diff_id) else {
        return Ok(None);
    };
    let known = layer.facts()?.tars;
    let origin = known.iter().find(|tar| tar.diff_id == diff_id);
    let is_own = match origin {
        Some(tar) => tar.origin == TarOrigin::Canonical,
        // What was known got lost.
        None => layer.canonical_tar()?.diff_id == diff_id,
    };
    Ok(is_own.then_some(layer))
}

/// Gets what is needed and not here.
fn fetch(work: &[Work], blobs: &Blobs, missing: Missing<'_>) -> Result<(), ResolveError> {
    let absent: Vec<Descriptor> = work
        .iter()
        .filter_map(|work| match (work, missing) {
            (Work::Pack(_), _) | (Work::Keep(_), Missing::Leave) => None,
            (Work::Keep(descriptor), _) => Some(descriptor),
            (Work::Repack(known), _) => Some(&known.descriptor),
        })
        .filter(|descriptor| !blobs.has(descriptor))
        .cloned()
        .collect();
    match (absent.first(), missing) {
        (None, _) => Ok(()),
        (Some(_), Missing::Fetch(fetch)) => fetch(&absent).map_err(ResolveError::Fetch),
        (Some(first), Missing::Leave) => Err(BlobError::Missing(first.digest).into()),
    }
}

/// Does the work for all layers, each once however often it occurs.
///
/// On threads of its own: packing waits for locks and for rayon's pool, and one of the pool's
/// threads that waits may begin another layer, whose lock it would then wait for in vain.
pub(crate) fn perform(
    work: &[Work],
    layers: &LayerStore,
    blobs: &Blobs,
    packing: Packing,
    observer: PackObserver<'_>,
) -> Result<Vec<ExportLayer>, ResolveError> {
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut once: Vec<&Work> = Vec::new();
    let place_of: Vec<usize> = work
        .iter()
        .map(|work| {
            *places.entry(work.key()).or_insert_with(|| {
                once.push(work);
                once.len() - 1
            })
        })
        .collect();
    let results: Vec<OnceLock<Result<ExportLayer, ResolveError>>> =
        once.iter().map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    let run = || {
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(work) = once.get(place) else {
                return;
            };
            let result = work.perform(layers, blobs, packing, observer);
            if result.is_err() {
                // After an error the other layers are of no use.
                next.store(once.len(), Ordering::Relaxed);
            }
            let _ = results[place].set(result);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 1..threads.min(once.len()) {
            kiln_threads::spawn_or_skip(scope, run);
        }
        run();
    });
    let mut done: Vec<ExportLayer> = Vec::new();
    for result in results {
        // What was not begun follows or precedes an error.
        if let Some(result) = result.into_inner() {
            done.push(result?);
        }
    }
    Ok(place_of.iter().map(|&place| done[place].clone()).collect())
}

impl Work {
    /// Returns what tells one layer's work from another's.
    fn key(&self) -> String {
        match self {
            Self::Pack(layer) => layer.id().to_string(),
            Self::Keep(descriptor) => format!("{descriptor:?}"),
            Self::Repack(known) => format!("{:?}", known.descriptor),
        }
    }

    fn perform(
        &self,
        layers: &LayerStore,
        blobs: &Blobs,
        packing: Packing,
        observer: PackObserver<'_>,
    ) -> Result<ExportLayer, ResolveError> {
        match self {
            Self::Pack(layer) => Ok(pack(layer, blobs, packing, observer)?),
            Self::Repack(known) => {
                let blob = blobs.open(known.descriptor.digest)?;
                let layer = layers.apply(blob, Some(known.compression), known.diff_id)?;
                layer.remember_blob(known.clone())?;
                let packed = layer.pack_as(known.diff_id, blobs, packing, &|_| ())?;
                Ok(stored(packed.descriptor, blobs))
            }
            Self::Keep(descriptor) => Ok(stored(descriptor.clone(), blobs)),
        }
    }
}

/// Packs a new layer, unless that was done before.
fn pack(
    layer: &Layer,
    blobs: &Blobs,
    packing: Packing,
    observer: PackObserver<'_>,
) -> Result<ExportLayer, LayerError> {
    let tar = layer.canonical_tar()?;
    if packing.compression != Compression::None {
        let packed = layer.pack_as(tar.diff_id, blobs, packing, &|done_bytes| {
            observer(PackProgress {
                diff_id: tar.diff_id,
                done_bytes,
                size_bytes: tar.size_bytes,
            });
        })?;
        return Ok(stored(packed.descriptor, blobs));
    }
    let media_type = Compression::None.oci_layer();
    Ok(ExportLayer {
        descriptor: Descriptor::new(media_type, tar.diff_id.0, tar.size_bytes),
        source: LayerSource::Tar(layer.clone()),
    })
}

fn stored(descriptor: Descriptor, blobs: &Blobs) -> ExportLayer {
    let source = if blobs.has(&descriptor) {
        LayerSource::Stored(blobs.path(descriptor.digest))
    } else {
        LayerSource::Absent
    };
    ExportLayer { descriptor, source }
}

/// Returns the manifest of the exported image; equal to the image's own if nothing changes.
fn manifest(
    image: &Image,
    layers: &[ExportLayer],
    family: MediaFamily,
    options: &ImageOptions,
) -> Manifest {
    let mut manifest = image.manifest.clone();
    let layers = layers.iter().map(|layer| layer.descriptor.clone());
    manifest.layers = layers.collect();
    manifest.annotations.extend(options.annotations.clone());
    name_parts(&mut manifest, family);
    if manifest == image.manifest && family == MediaFamily::of(&image.descriptor.media_type) {
        return manifest;
    }
    clear(&mut manifest, family);
    manifest
}

/// Returns a manifest with the words of a family.
pub(crate) fn in_family(mut manifest: Manifest, family: MediaFamily) -> Manifest {
    name_parts(&mut manifest, family);
    clear(&mut manifest, family);
    manifest
}

/// Calls config and layers what the family calls them.
fn name_parts(manifest: &mut Manifest, family: MediaFamily) {
    if MediaKind::of(&manifest.config.media_type) == MediaKind::Config {
        manifest.config.media_type = family.config().to_owned();
    }
    for layer in &mut manifest.layers {
        layer.media_type = family.layer(&layer.media_type);
    }
}

/// Takes away what is not for others to see, or not of the family.
fn clear(manifest: &mut Manifest, family: MediaFamily) {
    manifest.media_type = Some(family.manifest().to_owned());
    for layer in &mut manifest.layers {
        layer.annotations.retain(|name, _| !is_internal(name));
    }
    // Docker's manifests and descriptors have no annotations.
    if family == MediaFamily::Docker {
        manifest.annotations.clear();
        manifest.config.annotations.clear();
        for layer in &mut manifest.layers {
            layer.annotations.clear();
        }
    }
}

/// Says whether an annotation is a note of some builder or runtime to itself.
fn is_internal(name: &str) -> bool {
    name == "containerd.io/uncompressed"
        || name == "buildkit/createdat"
        || name.starts_with("containerd.io/distribution.source.")
}
