//! An OCI layout as a directory.
//!
//! Blobs that lie there already stay; `index.json` is replaced last, by rename, so a reader never
//! finds a name without its bytes. Images of other names in the layout stay.
//!
//! The layout may be part of a project that others wrote, so no link in it is followed.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use kiln_files::read_foreign;
use kiln_oci::{Descriptor, Index};
use kiln_threads::{Stop, Stopping};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

use crate::error::ExportError;
use crate::exportable::NamedImage;
use crate::members::{self, IMAGE_NAME};
use crate::place::{make_directory, replace_file};

/// The directories of the blobs, from the outside inwards.
const BLOBS: [&str; 2] = ["blobs", "sha256"];

/// Bytes. What registries take as a manifest (4 MiB), for a layout with several of them.
pub(crate) const LONGEST_INDEX: u64 = 32 << 20;

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

/// Writes everything but `index.json`, without which readers find no image.
pub(crate) fn write_blobs(
    images: &[NamedImage],
    directory: &Path,
    stop: &Stop,
) -> Result<(), ExportError> {
    let blobs = make_directories(directory)?;
    for (digest, member) in members::blobs(images) {
        let path = blobs.join(digest.hex());
        let size_bytes = member.descriptor().size_bytes;
        if !is_there(&path, size_bytes) {
            replace_file(&path, |output| {
                member.write(&mut Stopping::new(stop, output))
            })?;
        }
    }
    stop.check().map_err(ExportError::Output)?;
    let header = directory.join("oci-layout");
    replace_file(&header, |output| {
        output
            .write_all(&members::oci_layout())
            .map_err(ExportError::Output)
    })
}

/// Makes the directories of a layout and returns that of the blobs.
fn make_directories(directory: &Path) -> Result<PathBuf, ExportError> {
    let [outer, inner] = BLOBS;
    let outer = directory.join(outer);
    let inner = outer.join(inner);
    for path in [&outer, &inner] {
        if path.is_symlink() {
            return Err(ExportError::Link(path.clone()));
        }
        make_directory(path).map_err(ExportError::at(path))?;
    }
    Ok(inner)
}

/// Returns whether a blob is there already.
fn is_there(path: &Path, size_bytes: u64) -> bool {
    fs::symlink_metadata(path).is_ok_and(|known| known.is_file() && known.len() == size_bytes)
}

/// Opens the directory of a layout's blobs, which is no link.
pub(crate) fn open_blobs(directory: &Path) -> Result<OwnedFd, ExportError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut path = directory.to_owned();
    let mut opened =
        rustix::fs::open(directory, flags, Mode::empty()).map_err(ExportError::at(directory))?;
    for name in BLOBS {
        path.push(name);
        opened = match openat(&opened, name, flags | OFlags::NOFOLLOW, Mode::empty()) {
            Err(Errno::LOOP | Errno::NOTDIR) if path.is_symlink() => {
                return Err(ExportError::Link(path));
            }
            other => other.map_err(ExportError::at(&path))?,
        };
    }
    Ok(opened)
}

/// Writes `index.json`.
pub(crate) fn write_index(
    directory: &Path,
    descriptors: Vec<Descriptor>,
) -> Result<(), ExportError> {
    replace_file(&directory.join("index.json"), |output| {
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
    replace_file(&directory.join("manifest.json"), |output| {
        output.write_all(&manifest).map_err(ExportError::Output)
    })
}

/// Returns the images that the layout holds by now.
pub(crate) fn existing(directory: &Path) -> Result<Vec<Descriptor>, ExportError> {
    let path = directory.join("index.json");
    let bytes = match read_foreign(directory, Path::new("index.json"), LONGEST_INDEX) {
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
