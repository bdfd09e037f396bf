//! An OCI layout as a directory.
//!
//! Blobs that lie there already stay; `index.json` is replaced last, by rename, so a reader never
//! finds a name without its bytes. Images of other names in the layout stay.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use kiln_cache::{Descriptor, Index, Stop, Stopping};

use crate::error::ExportError;
use crate::exportable::NamedImage;
use crate::members::{self, IMAGE_NAME};
use crate::place::{make_directory, write_file};

/// Writes images into an OCI layout, making the directory if there is none.
///
/// # Errors
/// When a layer is not here, the directory cannot be written, or `stop` is asked for.
pub fn write_layout(
    images: &[NamedImage],
    directory: &Path,
    stop: &Stop,
) -> Result<(), ExportError> {
    write_blobs(images, directory, stop)?;
    let new = members::top_descriptors(images);
    let mut descriptors = existing(directory)?;
    descriptors.retain(|old| !new.iter().any(|new| replaces(new, old)));
    descriptors.extend(new);
    write_index(directory, descriptors)
}

/// Writes everything but `index.json`, without which nobody finds it.
pub(crate) fn write_blobs(
    images: &[NamedImage],
    directory: &Path,
    stop: &Stop,
) -> Result<(), ExportError> {
    let blobs = directory.join("blobs/sha256");
    make_directory(&blobs).map_err(ExportError::at(&blobs))?;
    for (digest, member) in members::blobs(images) {
        let path = blobs.join(digest.hex());
        let size_bytes = member.descriptor().size_bytes;
        if !fs::metadata(&path).is_ok_and(|known| known.len() == size_bytes) {
            write_file(&path, |output| {
                member.write(&mut Stopping::new(stop, output))
            })?;
        }
    }
    stop.check().map_err(ExportError::Output)?;
    let header = directory.join("oci-layout");
    write_file(&header, |output| {
        output
            .write_all(&members::oci_layout())
            .map_err(ExportError::Output)
    })
}

/// Writes `index.json`.
pub(crate) fn write_index(
    directory: &Path,
    descriptors: Vec<Descriptor>,
) -> Result<(), ExportError> {
    write_file(&directory.join("index.json"), |output| {
        output
            .write_all(&members::index_json(descriptors))
            .map_err(ExportError::Output)
    })
}

/// Writes images into a directory that is an OCI layout and, unpacked, what `docker load` takes.
///
/// # Errors
/// As [`write_layout`], and [`ExportError::ManifestList`] for several platforms.
pub fn write_docker_layout(
    images: &[NamedImage],
    directory: &Path,
    stop: &Stop,
) -> Result<(), ExportError> {
    let manifest = members::manifest_json(images)?;
    write_layout(images, directory, stop)?;
    write_file(&directory.join("manifest.json"), |output| {
        output.write_all(&manifest).map_err(ExportError::Output)
    })
}

/// Returns the images that the layout holds by now.
pub(crate) fn existing(directory: &Path) -> Result<Vec<Descriptor>, ExportError> {
    let path = directory.join("index.json");
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(ExportError::at(path)(error)),
    };
    match serde_json::from_slice::<Index>(&bytes) {
        Ok(index) => Ok(index.manifests),
        Err(source) => Err(ExportError::NotALayout {
            path: directory.to_owned(),
            source,
        }),
    }
}

/// Says whether `new` takes the place of `old`: the same name, or the same image without one.
fn replaces(new: &Descriptor, old: &Descriptor) -> bool {
    match (
        new.annotations.get(IMAGE_NAME),
        old.annotations.get(IMAGE_NAME),
    ) {
        (Some(new), Some(old)) => new == old,
        (None, None) => new.digest == old.digest,
        _ => false,
    }
}
