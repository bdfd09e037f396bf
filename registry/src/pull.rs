//! Pulling an image: its manifest, its config, and the list of its layers.

use std::collections::HashSet;
use std::sync::Arc;

use kiln_cache::Blobs;
use kiln_oci::{
    Descriptor, ImageRef, LARGEST_CONFIG, LARGEST_MANIFEST, MediaKind, Platform, Sha256,
};

use crate::Error;
use crate::exchange::Courier;
use crate::manifest::{ImageManifest, Manifest, ManifestError};
use crate::notice::Observer;

/// Deeper nesting than any registry shows is a loop or an attack.
const DEEPEST_NESTING: usize = 4;
/// Nor has any image more indexes than this.
const MOST_INDEXES: usize = 64;

/// An image of which everything but the layers is in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PulledImage {
    /// What the name means: the index if there is one, else the manifest.
    pub top: Descriptor,
    /// The image manifest for the platform.
    pub manifest: Descriptor,
    /// The image config.
    pub config: Descriptor,
    /// The layers, lowest first; fetched by [`crate::Client::fetch_blobs`] when they are wanted.
    pub layers: Vec<Descriptor>,
}

impl Courier {
    pub(crate) fn pull(
        self: &Arc<Self>,
        name: &ImageRef,
        platform: &Platform,
        blobs: &Blobs,
        observer: Observer<'_>,
    ) -> Result<PulledImage, Error> {
        let resolved = self.resolve(name)?;
        if let Some(bytes) = &resolved.bytes {
            blobs.put(bytes)?;
        }
        self.pull_resolved(name, &resolved.descriptor, platform, blobs, observer)
    }

    pub(crate) fn pull_resolved(
        self: &Arc<Self>,
        name: &ImageRef,
        top: &Descriptor,
        platform: &Platform,
        blobs: &Blobs,
        observer: Observer<'_>,
    ) -> Result<PulledImage, Error> {
        let mut search = Search {
            courier: self,
            name,
            platform,
            blobs,
            seen: HashSet::new(),
        };
        let (manifest, image) = search.select(top, DEEPEST_NESTING)?;
        let size_bytes = image.config.size_bytes;
        // It is read whole, and by more than one program.
        if size_bytes > LARGEST_CONFIG {
            let name = name.familiar();
            return Err(ManifestError::LargeConfig { name, size_bytes }.into());
        }
        self.fetch_blob(name, &image.config, blobs, observer)?;
        Ok(PulledImage {
            top: top.clone(),
            manifest,
            config: image.config,
            layers: image.layers,
        })
    }

    /// Returns a manifest's bytes from the store, or from the registry by way of the store.
    fn stored_manifest(
        &self,
        name: &ImageRef,
        descriptor: &Descriptor,
        blobs: &Blobs,
    ) -> Result<Vec<u8>, Error> {
        if descriptor.size_bytes > LARGEST_MANIFEST {
            return Err(ManifestError::TooLarge {
                name: name.familiar(),
            }
            .into());
        }
        if blobs.size(descriptor.digest) == Some(descriptor.size_bytes) {
            return Ok(blobs.read(descriptor.digest)?);
        }
        let bytes = self.fetch_manifest(name, descriptor)?;
        blobs.put(&bytes)?;
        Ok(bytes)
    }
}

/// The search for the manifest that serves a platform.
struct Search<'a> {
    courier: &'a Courier,
    name: &'a ImageRef,
    platform: &'a Platform,
    blobs: &'a Blobs,
    /// Indexes within indexes that were searched. One that is named a thousand times is searched
    /// once.
    seen: HashSet<Sha256>,
}

impl Search<'_> {
    /// Returns the manifest that serves the platform, from however deep.
    fn select(
        &mut self,
        descriptor: &Descriptor,
        depth: usize,
    ) -> Result<(Descriptor, ImageManifest), Error> {
        let bytes = self
            .courier
            .stored_manifest(self.name, descriptor, self.blobs)?;
        let index = match Manifest::parse(&bytes, Some(&descriptor.media_type))? {
            Manifest::Image(image) => return Ok((descriptor.clone(), image)),
            Manifest::Index(index) => index,
        };
        if depth == 0 || self.seen.len() > MOST_INDEXES {
            return Err(ManifestError::TooDeep(descriptor.digest).into());
        }
        let mut available: Vec<Platform> = Vec::new();
        for platform in index.platforms() {
            if !available.contains(platform) {
                available.push(platform.clone());
            }
        }
        for candidate in index.candidates(self.platform) {
            // What served nothing before serves nothing now.
            let is_index = MediaKind::of(&candidate.media_type) == MediaKind::Index;
            if is_index && !self.seen.insert(candidate.digest) {
                continue;
            }
            match self.select(candidate, depth - 1) {
                // Another entry may do; if none does, these are part of what there is.
                Err(Error::Manifest(ManifestError::NoPlatform {
                    available: inner, ..
                })) => available.extend(inner),
                found => return found,
            }
        }
        Err(ManifestError::NoPlatform {
            digest: descriptor.digest,
            wanted: self.platform.clone(),
            available: available.into(),
        }
        .into())
    }
}
