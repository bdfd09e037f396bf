//! Reads an archive or layout, be it of docker's or OCI's form.

use std::path::Path;

use kiln_cache::{Blobs, Store};
use kiln_oci::{Image, Platform};
use kiln_snapshotter::UnpackLimit;

use super::contents::ArchiveContents;
use super::error::LoadError;
use super::loaded::{LayoutEntry, LoadSource, Loaded, Platforms};
use super::{docker, layout};

/// Brings one image of a layout into the store, blobs and layers verified. Of an index, that is the
/// image for `platform`.
///
/// # Errors
/// See [`LoadError`].
pub fn load_from_layout(
    directory: &Path,
    wanted: LayoutEntry<'_>,
    store: &Store,
    blobs: &Blobs,
    platform: &Platform,
    limit: UnpackLimit,
) -> Result<Image, LoadError> {
    let contents =
        ArchiveContents::open(LoadSource::Directory(directory.to_owned()), store, limit)?;
    layout::load_one(&contents, wanted, blobs, platform)
}

/// Brings the images of an archive or layout into the store, or of an index what is wanted of it. The
/// archive, and each of its layers, may unpack to what `limit` says.
///
/// # Errors
/// See [`LoadError`]; images before the one that fails may be in the store then, without names.
pub fn load(
    source: LoadSource<'_>,
    store: &Store,
    blobs: &Blobs,
    wanted: Platforms<'_>,
    limit: UnpackLimit,
) -> Result<Vec<Loaded>, LoadError> {
    let contents = ArchiveContents::open(source, store, limit)?;
    let mut loaded = match contents.document("index.json")? {
        Some(index) if contents.find("oci-layout")?.is_some() => {
            layout::load(&contents, &index, blobs, wanted)?
        }
        index => match (contents.find("manifest.json")?, index) {
            (None, Some(index)) => layout::load(&contents, &index, blobs, wanted)?,
            (None, None) => return Err(LoadError::NoImages),
            (Some(_), _) => Vec::new(),
        },
    };
    if let Some(manifest) = contents.document("manifest.json")? {
        docker::load(&contents, &manifest, blobs, &mut loaded)?;
    }
    Ok(loaded)
}
