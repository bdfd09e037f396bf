//! Images ready to be written for others: each blob is in the store, or its registry is known.

use std::collections::BTreeMap;
use std::path::PathBuf;

use kiln_oci::{Descriptor, Index, Platform, TaggedRef, Timestamp};
use kiln_snapshotter::Layer;

use crate::options::MediaFamily;

/// A small JSON object of an image, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportDocument {
    /// Type, digest and length.
    pub descriptor: Descriptor,
    /// The JSON.
    pub bytes: Vec<u8>,
}

/// An image for one platform.
#[derive(Clone, Debug)]
pub struct Exportable {
    /// What it runs on.
    pub platform: Platform,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// The manifest. Its descriptor carries the platform, as indexes want it.
    pub manifest: ExportDocument,
    /// The config.
    pub config: ExportDocument,
    /// The layers, base first.
    pub layers: Vec<ExportLayer>,
}

/// A layer as the manifest describes it.
#[derive(Clone, Debug)]
pub struct ExportLayer {
    /// Type, digest and length.
    pub descriptor: Descriptor,
    /// Where its bytes are.
    pub source: LayerSource,
}

/// The source of the bytes of a layer's blob.
#[derive(Clone, Debug)]
pub enum LayerSource {
    /// In a file of the blob store.
    Stored(PathBuf),
    /// Nowhere yet: the layer's own uncompressed tar, made on the way out.
    Tar(Layer),
    /// In the registry it was described by.
    Absent,
}

/// The image of a name: an image for one platform, or an index of several.
#[derive(Clone, Debug)]
pub struct NamedImage {
    /// Its names; with none, it goes by its digest.
    pub names: Vec<TaggedRef>,
    /// The manifest of the only platform, or the index.
    pub root: ExportDocument,
    /// The images, one per platform.
    pub manifests: Vec<Exportable>,
}

impl ExportDocument {
    /// Wraps bytes.
    #[must_use]
    pub fn new(media_type: &str, bytes: Vec<u8>) -> Self {
        Self {
            descriptor: Descriptor::of(media_type, &bytes),
            bytes,
        }
    }
}

impl NamedImage {
    /// Returns an image for one platform.
    #[must_use]
    pub fn single(image: Exportable, names: Vec<TaggedRef>) -> Self {
        Self {
            names,
            root: image.manifest.clone(),
            manifests: vec![image],
        }
    }

    /// Returns an index of images for several platforms, in the order given.
    #[must_use]
    pub fn index(
        images: Vec<Exportable>,
        names: Vec<TaggedRef>,
        family: MediaFamily,
        annotations: BTreeMap<String, String>,
    ) -> Self {
        let manifests = images
            .iter()
            .map(|image| image.manifest.descriptor.clone())
            .collect();
        let mut index = Index::oci(manifests);
        index.media_type = Some(family.index().to_owned());
        match family {
            MediaFamily::Oci => index.annotations = annotations,
            // Docker's lists and what they point with have no annotations.
            MediaFamily::Docker => {
                for manifest in &mut index.manifests {
                    manifest.annotations.clear();
                }
            }
        }
        Self {
            names,
            root: ExportDocument::new(family.index(), index.to_bytes()),
            manifests: images,
        }
    }

    /// Says whether there is an index on top.
    #[must_use]
    pub fn is_index(&self) -> bool {
        match self.manifests.as_slice() {
            [only] => only.manifest.descriptor.digest != self.root.descriptor.digest,
            _ => true,
        }
    }
}
