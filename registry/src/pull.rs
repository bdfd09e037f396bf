//! Pulling an image: its manifest, its config, and the list of its layers.

use std::sync::Arc;

use kiln_cache::{Blobs, Descriptor, ImageRef, Platform};

use crate::Error;
use crate::exchange::Courier;
use crate::manifest::{ImageManifest, Manifest, ManifestError};
use crate::notice::Observer;

/// Deeper nesting than any registry shows is a loop or an attack.
const DEEPEST_NESTING: usize = 4;

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
        let (manifest, image) = self.select(name, top, platform, blobs, DEEPEST_NESTING)?;
        self.fetch_blob(name, &image.config, blobs, observer)?;
        Ok(PulledImage {
            top: top.clone(),
            manifest,
            config: image.config,
            layers: image.layers,
        })
    }

    /// Returns the manifest that serves the platform, from however deep.
    fn select(
        &self,
        name: &ImageRef,
        descriptor: &Descriptor,
        platform: &Platform,
        blobs: &Blobs,
        depth: usize,
    ) -> Result<(Descriptor, ImageManifest), Error> {
        let bytes = self.stored_manifest(name, descriptor, blobs)?;
        let index = match Manifest::parse(&bytes, Some(&descriptor.media_type))? {
            Manifest::Image(image) => return Ok((descriptor.clone(), image)),
            Manifest::Index(index) => index,
        };
        if depth == 0 {
            return Err(ManifestError::TooDeep(descriptor.digest).into());
        }
        let mut available: Vec<Platform> = Vec::new();
        for platform in index.platforms() {
            if !available.contains(platform) {
                available.push(platform.clone());
            }
        }
        for candidate in index.candidates(platform) {
            match self.select(name, candidate, platform, blobs, depth - 1) {
                // Another entry may do; if none does, these are part of what there is.
                Err(Error::Manifest(ManifestError::NoPlatform {
                    available: inner, ..
                })) => available.extend(inner),
                found => return found,
            }
        }
        Err(ManifestError::NoPlatform {
            digest: descriptor.digest,
            wanted: platform.clone(),
            available: available.into(),
        }
        .into())
    }

    /// Returns a manifest's bytes from the store, or from the registry by way of the store.
    fn stored_manifest(
        &self,
        name: &ImageRef,
        descriptor: &Descriptor,
        blobs: &Blobs,
    ) -> Result<Vec<u8>, Error> {
        if blobs.size(descriptor.digest) == Some(descriptor.size_bytes) {
            return Ok(blobs.read(descriptor.digest)?);
        }
        let bytes = self.fetch_manifest(name, descriptor)?;
        blobs.put(&bytes)?;
        Ok(bytes)
    }
}
