//! What a name of the local store stands for: an image, or an index of images for several
//! platforms.

use kiln_cache::{Blobs, ImageError};
use kiln_oci::{
    Descriptor, Document, Image, ImageId, Index, InvalidImage, MediaKind, Platform, Sha256,
};

use crate::Error;
use crate::stores::Stores;

/// An image of the local store, for one platform or several.
#[derive(Clone, Debug)]
pub struct LocalImage {
    /// The index, or the only manifest.
    pub(crate) descriptor: Descriptor,
    /// The index, if there is one on top.
    pub(crate) index: Option<Index>,
    /// The images that are here, at least one. What an index says of them their descriptors say.
    images: Vec<Image>,
}

impl LocalImage {
    /// Returns an image without an index.
    #[must_use]
    pub fn single(image: Image) -> Self {
        Self {
            descriptor: image.descriptor.clone(),
            index: None,
            images: vec![image],
        }
    }

    /// Returns an index of images, at least one.
    pub(crate) fn indexed(descriptor: Descriptor, index: Index, images: Vec<Image>) -> Self {
        debug_assert!(!images.is_empty(), "an index without images is none");
        Self {
            descriptor,
            index: Some(index),
            images,
        }
    }

    /// Reads what has this digest; none if no part of it is an image that is here.
    fn read(blobs: &Blobs, digest: Sha256) -> Result<Option<Self>, ImageError> {
        let no_image = match kiln_cache::read_image(blobs, digest) {
            Ok(image) => return Ok(Some(Self::single(image))),
            Err(error @ ImageError::Invalid(InvalidImage::NotAnImage { .. })) => error,
            Err(error) => return Err(error),
        };
        let bytes = blobs.read(digest)?;
        let Ok(Document::Index(index)) = Document::parse(&bytes, None) else {
            return Err(no_image);
        };
        let mut images = Vec::new();
        for entry in index.images().filter(|entry| is_manifest(entry)) {
            // What was loaded or deleted may be part of an index only.
            if blobs.contains(entry.digest) {
                let mut image = kiln_cache::read_image(blobs, entry.digest)?;
                image.descriptor.platform.clone_from(&entry.platform);
                image.descriptor.annotations.clone_from(&entry.annotations);
                images.push(image);
            }
        }
        let fallback = kiln_oci::media_type::OCI_INDEX.to_owned();
        let media_type = index.media_type.clone().unwrap_or(fallback);
        let descriptor = Descriptor::new(&media_type, digest, bytes.len() as u64);
        Ok((!images.is_empty()).then(|| Self::indexed(descriptor, index, images)))
    }

    /// Returns the id: the digest of the config, or of the index.
    #[must_use]
    pub fn id(&self) -> ImageId {
        match (&self.index, self.images.as_slice()) {
            (None, [image, ..]) => image.id(),
            _ => ImageId(self.descriptor.digest),
        }
    }

    /// Returns what points at it: at the index, or at the only manifest.
    #[must_use]
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// Says whether there is an index on top.
    #[must_use]
    pub fn is_index(&self) -> bool {
        self.index.is_some()
    }

    /// Returns the images, in the index's order.
    #[must_use]
    pub fn images(&self) -> &[Image] {
        &self.images
    }

    /// Returns the image that serves a platform best.
    #[must_use]
    pub fn serving(&self, platform: &Platform) -> Option<&Image> {
        let distance = |image: &Image| platform.distance(&platform_of(image));
        let candidates = self.images.iter();
        candidates
            .filter_map(|image| Some((distance(image)?, image)))
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, image)| image)
    }

    /// Returns the image that stands for all in lists: this machine's if there is one.
    #[must_use]
    pub fn representative(&self) -> &Image {
        self.serving(&Platform::host()).unwrap_or(&self.images[0])
    }

    /// Returns the image for the wanted platform; where none is wanted, the only one, or of an
    /// index this machine's.
    ///
    /// # Errors
    /// When there is none.
    pub fn choose(&self, name: &str, wanted: Option<&Platform>) -> Result<&Image, Error> {
        let host = Platform::host();
        let platform = match (wanted, self.images.as_slice()) {
            (None, [only]) if !self.is_index() => return Ok(only),
            (None, _) => &host,
            (Some(wanted), _) => wanted,
        };
        self.serving(platform).ok_or_else(|| {
            let platforms = self
                .images
                .iter()
                .map(|image| platform_of(image).to_string());
            Error::input(format!(
                "image with reference {name} was found but does not provide the specified \
                     platform ({platform})"
            ))
            .with_hint(format!(
                "it is for {}",
                platforms.collect::<Vec<_>>().join(", ")
            ))
        })
    }

    /// Returns the part for one platform, or everything where none is wanted.
    ///
    /// # Errors
    /// As [`LocalImage::choose`].
    pub(crate) fn narrowed(self, name: &str, wanted: Option<&Platform>) -> Result<Self, Error> {
        match wanted {
            None => Ok(self),
            Some(_) => {
                let mut image = self.choose(name, wanted)?.clone();
                image.descriptor.platform = None;
                image.descriptor.annotations.clear();
                Ok(Self::single(image))
            }
        }
    }
}

/// Says whether an entry of an index is a manifest, and no index within the index.
fn is_manifest(entry: &Descriptor) -> bool {
    MediaKind::of(&entry.media_type) == MediaKind::Manifest
}

/// Returns what an image runs on: by its index, else by its config.
pub(crate) fn platform_of(image: &Image) -> Platform {
    let listed = image.descriptor.platform.clone();
    listed.unwrap_or_else(|| image.config.platform())
}

/// Reads what has this digest from the local store.
///
/// # Errors
/// When it is missing, damaged or no image.
pub(crate) fn read(stores: &Stores, digest: Sha256) -> Result<LocalImage, Error> {
    let read = LocalImage::read(&stores.blobs, digest)
        .map_err(|error| Error::environment("cannot read an image of the local store", error))?;
    read.ok_or_else(|| Error::input(format!("no image of index {digest} is here")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kiln_cache::{Blobs, Store};
    use kiln_exporter::{MediaFamily, store_image, store_index};
    use kiln_oci::{ImageConfig, RootFs};

    use super::*;

    fn image(blobs: &Blobs, platform: &str) -> Image {
        let platform: Platform = platform.parse().unwrap();
        let config = ImageConfig {
            os: platform.os,
            architecture: platform.architecture,
            variant: platform.variant,
            rootfs: RootFs::default(),
            ..ImageConfig::default()
        };
        store_image(blobs, config, None, &[], BTreeMap::new()).unwrap()
    }

    #[test]
    fn an_index_serves_the_platforms_that_are_here() {
        let directory = tempfile::tempdir().unwrap();
        let blobs = Blobs::new(&Store::open(directory.path()).unwrap());
        let mut images: Vec<Image> = ["linux/arm/v6", "linux/arm/v7", "linux/s390x"]
            .iter()
            .map(|platform| image(&blobs, platform))
            .collect();
        images[1].descriptor.annotations = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
        let annotations = BTreeMap::from([("of".to_owned(), "index".to_owned())]);
        let (descriptor, index) =
            store_index(&blobs, &images, MediaFamily::Oci, annotations).unwrap();
        let local = LocalImage::read(&blobs, descriptor.digest)
            .unwrap()
            .unwrap();
        assert_eq!(local.descriptor, descriptor);
        assert_eq!(local.index, Some(index));
        assert_eq!(local.id().0, descriptor.digest);
        assert_eq!(local.images()[1].descriptor.annotations["k"], "v");
        let serving = |platform: &str| {
            let image = local.serving(&platform.parse().unwrap());
            image.map(|image| platform_of(image).to_string())
        };
        assert_eq!(serving("linux/arm/v8"), Some("linux/arm/v7".to_owned()));
        assert_eq!(serving("linux/arm/v6"), Some("linux/arm/v6".to_owned()));
        assert_eq!(serving("linux/riscv64"), None);
        let error = local.choose("x", Some(&"linux/riscv64".parse().unwrap()));
        let error = error.unwrap_err();
        assert_eq!(
            error.to_string(),
            "image with reference x was found but does not provide the specified platform \
             (linux/riscv64)"
        );
        assert_eq!(
            error.hint(),
            Some("it is for linux/arm/v6, linux/arm/v7, linux/s390x")
        );
        let one = local
            .clone()
            .narrowed("x", Some(&"linux/s390x".parse().unwrap()))
            .unwrap();
        assert!(!one.is_index());
        assert_eq!(one.id(), images[2].id());
        std::fs::remove_file(blobs.path(images[0].descriptor.digest)).unwrap();
        let rest = LocalImage::read(&blobs, descriptor.digest)
            .unwrap()
            .unwrap();
        assert_eq!(rest.images().len(), 2);
    }
}
