//! The members of an OCI layout, be it a directory or an archive.
//!
//! docs/spec/oci.md 6.1: blobs by digest, an index of what is on top, and the version of it
//! all. A docker archive is the same with one list more (section 6.2), which old readers go by.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};

use kiln_oci::{Descriptor, Index, Platform, Sha256, Sha256Writer};
use kiln_snapshotter::LayerError;
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::ExportError;
use crate::exportable::{ExportDocument, ExportLayer, Exportable, LayerSource, NamedImage};

/// The full name, as containerd and its friends read it.
pub(crate) const IMAGE_NAME: &str = "io.containerd.image.name";
/// By the specification any text; builders write the tag.
pub(crate) const REF_NAME: &str = oci_spec::image::ANNOTATION_REF_NAME;
/// When the image was made.
pub(crate) const CREATED: &str = oci_spec::image::ANNOTATION_CREATED;

/// One image in a docker archive's `manifest.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ArchivedImage {
    /// Path of the config.
    pub(crate) config: String,
    /// Names as people write them; null for none.
    #[serde(default)]
    pub(crate) repo_tags: Option<Vec<String>>,
    /// Paths of the layers, base first. Docker writes null for none.
    #[serde(default, deserialize_with = "none_if_null")]
    pub(crate) layers: Vec<String>,
}

fn none_if_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A blob on its way out.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ArchiveMember<'a> {
    /// A manifest, index or config.
    Document(&'a ExportDocument),
    /// A layer.
    Layer(&'a ExportLayer),
}

/// Returns the blobs of `images`, each once, in the order of their digests.
pub(crate) fn blobs(images: &[NamedImage]) -> BTreeMap<Sha256, ArchiveMember<'_>> {
    let mut blobs = BTreeMap::new();
    for image in images {
        let mut add = |descriptor: &Descriptor, member| {
            blobs.entry(descriptor.digest).or_insert(member);
        };
        add(&image.root.descriptor, ArchiveMember::Document(&image.root));
        for part in &image.manifests {
            for document in [&part.manifest, &part.config] {
                add(&document.descriptor, ArchiveMember::Document(document));
            }
            for layer in &part.layers {
                add(&layer.descriptor, ArchiveMember::Layer(layer));
            }
        }
    }
    blobs
}

/// Returns the descriptors of `index.json`: one for each name, one for an image without.
pub(crate) fn top_descriptors(images: &[NamedImage]) -> Vec<Descriptor> {
    let mut descriptors = Vec::new();
    for image in images {
        let mut descriptor = image.root.descriptor.clone();
        // The time of the image and not of the export: the same image gives the same archive.
        let created = image.manifests.iter().filter_map(|part| part.created).max();
        if let Some(created) = created {
            let annotations = &mut descriptor.annotations;
            annotations
                .entry(CREATED.to_owned())
                .or_insert_with(|| created.to_string());
        }
        if image.names.is_empty() {
            descriptors.push(descriptor);
            continue;
        }
        for name in image.names.iter() {
            let mut descriptor = descriptor.clone();
            // OCI-025.
            if let Some(tag) = name.tag() {
                let annotations = &mut descriptor.annotations;
                annotations.insert(REF_NAME.to_owned(), tag.to_owned());
            }
            descriptor
                .annotations
                .insert(IMAGE_NAME.to_owned(), name.to_string());
            descriptors.push(descriptor);
        }
    }
    descriptors
}

/// Returns `index.json`, in one line as others write it.
pub(crate) fn index_json(descriptors: Vec<Descriptor>) -> Vec<u8> {
    serde_json::to_vec(&Index::oci(descriptors)).expect("an index is plain data")
}

/// Returns `oci-layout`.
pub(crate) fn oci_layout() -> Vec<u8> {
    let layout = oci_spec::image::OciLayoutBuilder::default()
        .image_layout_version("1.0.0")
        .build()
        .expect("the version is all there is");
    serde_json::to_vec(&layout).expect("a layout header is plain data")
}

/// Returns `manifest.json`, which knows no indexes.
pub(crate) fn manifest_json(images: &[NamedImage]) -> Result<Vec<u8>, ExportError> {
    let parts: Option<Vec<_>> = images
        .iter()
        .map(|image| match image.manifests.as_slice() {
            [only] if !image.is_index() => Some((image, only)),
            _ => None,
        })
        .collect();
    Ok(list(&parts.ok_or(ExportError::ManifestList)?))
}

/// Returns `manifest.json` with each index's image for `platform`, should it have one.
pub(crate) fn manifest_json_for(images: &[NamedImage], platform: &Platform) -> Vec<u8> {
    let parts = images.iter().filter_map(|image| {
        let best = match image.manifests.as_slice() {
            [only] => only,
            parts => parts
                .iter()
                .filter_map(|part| Some((platform.distance(&part.platform)?, part)))
                .min_by_key(|(distance, _)| *distance)
                .map(|(_, part)| part)?,
        };
        Some((image, best))
    });
    list(&parts.collect::<Vec<_>>())
}

fn list(images: &[(&NamedImage, &Exportable)]) -> Vec<u8> {
    let mut archived: Vec<ArchivedImage> = Vec::new();
    for (image, part) in images {
        let names: Vec<String> = image.names.iter().map(|name| name.familiar()).collect();
        let config = blob_path(part.config.descriptor.digest);
        let repo_tags = (!names.is_empty()).then_some(names);
        match archived.iter_mut().find(|known| known.config == config) {
            Some(known) => {
                let names = repo_tags.unwrap_or_default();
                known.repo_tags.get_or_insert_default().extend(names);
            }
            None => archived.push(ArchivedImage {
                config,
                repo_tags,
                layers: part
                    .layers
                    .iter()
                    .map(|layer| blob_path(layer.descriptor.digest))
                    .collect(),
            }),
        }
    }
    serde_json::to_vec(&archived).expect("a list of texts is plain data")
}

/// Returns where a blob lies in a layout.
pub(crate) fn blob_path(digest: Sha256) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

impl ArchiveMember<'_> {
    /// Returns digest and length.
    pub(crate) fn descriptor(&self) -> &Descriptor {
        match self {
            Self::Document(document) => &document.descriptor,
            Self::Layer(layer) => &layer.descriptor,
        }
    }

    /// Writes the blob's bytes, and nothing else under its name.
    pub(crate) fn write(&self, output: &mut dyn Write) -> Result<(), ExportError> {
        let descriptor = self.descriptor();
        let (digest, size_bytes) = match self {
            Self::Document(document) => {
                output
                    .write_all(&document.bytes)
                    .map_err(ExportError::Output)?;
                return Ok(());
            }
            Self::Layer(layer) => match &layer.source {
                LayerSource::Stored(path) => {
                    let mut file = File::open(path).map_err(ExportError::at(path))?;
                    let mut hashing = Sha256Writer::new(output);
                    io::copy(&mut file, &mut hashing).map_err(ExportError::Output)?;
                    let (_, digest, size_bytes) = hashing.finish();
                    (digest, size_bytes)
                }
                LayerSource::Tar(layer) => {
                    let tar = layer.write_tar(output).map_err(|error| match error {
                        LayerError::Output(source) => ExportError::Output(source),
                        error => error.into(),
                    })?;
                    (tar.diff_id.0, tar.size_bytes)
                }
                LayerSource::Absent => return Err(ExportError::Absent(descriptor.digest)),
            },
        };
        // The disk may have damaged the blob, which a reader of the archive would find out.
        if (digest, size_bytes) != (descriptor.digest, descriptor.size_bytes) {
            return Err(ExportError::Damaged {
                expected: descriptor.digest,
                actual: digest,
            });
        }
        Ok(())
    }
}
