//! Pulling an image: its manifest, its config, and the list of its layers.

use std::sync::Arc;

use kiln_cache::Blobs;
use kiln_oci::{
    Descriptor, Document, ImageRef, LARGEST_CONFIG, LARGEST_MANIFEST, Platform, SelectError,
    TaggedRef, select,
};

use crate::error::Error;
use crate::manifest::ManifestError;
use crate::notice::Observer;
use crate::session::RegistrySession;

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

impl RegistrySession {
    pub(crate) fn pull(
        self: &Arc<Self>,
        name: &TaggedRef,
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
        let mut read = |descriptor: &Descriptor| -> Result<_, Error> {
            let bytes = self.stored_manifest(name, descriptor, blobs)?;
            let document = Document::parse(&bytes, Some(&descriptor.media_type));
            Ok(Some(document.map_err(ManifestError::from)?))
        };
        let (manifest, image) = select(top, platform, &mut read).map_err(|error| match error {
            SelectError::Read(error) => error,
            SelectError::NoPlatform { digest, available } => ManifestError::NoPlatform {
                digest,
                wanted: platform.clone(),
                available: available.into(),
            }
            .into(),
            SelectError::TooDeep(digest) => ManifestError::TooDeep(digest).into(),
        })?;
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
