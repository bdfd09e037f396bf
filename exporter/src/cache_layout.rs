//! A shared cache in an OCI layout on disk (`type=local`).
//!
//! Caches lie side by side under their tags. Blobs that lie there stay; `index.json` is replaced
//! last, so a reader never finds a tag without its bytes.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use kiln_cache::{BlobError, Blobs};
use kiln_files::{open_foreign, read_foreign};
use kiln_oci::{Descriptor, Index, Manifest, Sha256};
use kiln_threads::Stop;
use rustix::fs::{AtFlags, Dir, unlinkat};
use rustix::io::Errno;

use crate::error::ExportError;
use crate::exportable::NamedImage;
use crate::layout::{LONGEST_INDEX, existing, open_blobs, write_blobs, write_index};
use crate::load::LayoutEntry;
use crate::members::{REF_NAME, blob_path};

/// The treatment of blobs that nothing in the layout names any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StaleBlobs {
    /// They stay.
    #[default]
    Keep,
    /// They are deleted (`reset=true`).
    Delete,
}

/// Why something cannot be read from a layout.
#[derive(Debug, thiserror::Error)]
pub enum ReadLayoutError {
    /// A file cannot be read.
    #[error("{path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// `index.json` is not an index.
    #[error("index.json is not valid")]
    Index(#[source] serde_json::Error),
    /// Nothing has the tag or digest.
    #[error("nothing in it is called {0}")]
    NoEntry(String),
    /// A blob is not what its name says.
    #[error("blob {expected} is damaged: its digest is {actual}")]
    Damaged {
        /// Its name.
        expected: Sha256,
        /// What it holds.
        actual: Sha256,
    },
    /// A document is longer than any of its kind.
    #[error("{digest} has {size_bytes} bytes, more than {limit_bytes}")]
    TooLarge {
        /// The document.
        digest: Sha256,
        /// Its length.
        size_bytes: u64,
        /// The most that is read.
        limit_bytes: u64,
    },
}

/// Writes a cache into the layout in `directory` under `tag`, making the directory if there is
/// none.
///
/// # Errors
/// When a layer is not here, the directory cannot be written, or `stop` is asked for.
pub fn write_cache_layout(
    cache: &NamedImage,
    directory: &Path,
    tag: &str,
    stale: StaleBlobs,
    stop: &Stop,
) -> Result<(), ExportError> {
    write_blobs(std::slice::from_ref(cache), directory, stop)?;
    let mut descriptors = existing(directory)?;
    descriptors.retain(|old| old.annotations.get(REF_NAME).map(String::as_str) != Some(tag));
    let mut entry = cache.root.descriptor.clone();
    entry
        .annotations
        .insert(REF_NAME.to_owned(), tag.to_owned());
    descriptors.push(entry);
    write_index(directory, descriptors.clone())?;
    match stale {
        StaleBlobs::Keep => Ok(()),
        StaleBlobs::Delete => delete_stale(directory, &descriptors),
    }
}

fn delete_stale(directory: &Path, top: &[Descriptor]) -> Result<(), ExportError> {
    let mut named: HashSet<String> = HashSet::new();
    let mut pending: Vec<Descriptor> = top.to_vec();
    while let Some(descriptor) = pending.pop() {
        if !named.insert(descriptor.digest.hex()) {
            continue;
        }
        if !descriptor.media_type.ends_with("json") {
            continue;
        }
        let path = blob_path(descriptor.digest);
        let bytes = match read_foreign(directory, path.as_ref(), LONGEST_INDEX) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            other => other.map_err(ExportError::at(directory.join(path)))?,
        };
        // What is both, or neither, names what it names.
        if let Ok(index) = serde_json::from_slice::<Index>(&bytes) {
            pending.extend(index.manifests);
        }
        if let Ok(manifest) = serde_json::from_slice::<Manifest>(&bytes) {
            pending.push(manifest.config);
            pending.extend(manifest.layers);
        }
    }
    let opened = open_blobs(directory)?;
    let failed = |error: Errno| ExportError::at(directory.join("blobs/sha256"))(error);
    for entry in Dir::read_from(&opened).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // What has another name is no blob.
        let digest = entry
            .file_name()
            .to_str()
            .ok()
            .filter(|name| is_digest(name));
        let Some(name) = digest.filter(|name| !named.contains(*name)) else {
            continue;
        };
        match unlinkat(&opened, name, AtFlags::empty()) {
            Err(error) if error != Errno::NOENT => return Err(failed(error)),
            _ => {}
        }
    }
    Ok(())
}

fn is_digest(name: &str) -> bool {
    name.len() == 64
        && name
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Returns what a layout has under a tag or digest: a manifest or an index.
///
/// # Errors
/// When it has neither.
pub fn find_in_layout(
    directory: &Path,
    wanted: LayoutEntry<'_>,
) -> Result<Descriptor, ReadLayoutError> {
    let path = directory.join("index.json");
    let bytes = read_foreign(directory, Path::new("index.json"), LONGEST_INDEX)
        .map_err(|source| ReadLayoutError::Io { path, source })?;
    let index: Index = serde_json::from_slice(&bytes).map_err(ReadLayoutError::Index)?;
    let is_it = |entry: &Descriptor| match wanted {
        LayoutEntry::Tag(tag) => entry.annotations.get(REF_NAME).map(String::as_str) == Some(tag),
        LayoutEntry::Digest(digest) => entry.digest == digest,
    };
    index.manifests.into_iter().find(is_it).ok_or_else(|| {
        ReadLayoutError::NoEntry(match wanted {
            LayoutEntry::Tag(tag) => tag.to_owned(),
            LayoutEntry::Digest(digest) => digest.to_string(),
        })
    })
}

/// Returns the bytes of a manifest or config in a layout, verified.
///
/// # Errors
/// When they are not there, damaged, or more than `limit_bytes`.
pub fn read_from_layout(
    directory: &Path,
    digest: Sha256,
    limit_bytes: u64,
) -> Result<Vec<u8>, ReadLayoutError> {
    let path = directory.join(blob_path(digest));
    let read = || -> io::Result<(u64, Vec<u8>)> {
        let file = open_in_layout(directory, digest)?;
        let size_bytes = file.metadata()?.len();
        let mut bytes = Vec::new();
        file.take(limit_bytes).read_to_end(&mut bytes)?;
        Ok((size_bytes, bytes))
    };
    let (size_bytes, bytes) = read().map_err(|source| ReadLayoutError::Io {
        path: path.clone(),
        source,
    })?;
    if size_bytes > limit_bytes {
        return Err(ReadLayoutError::TooLarge {
            digest,
            size_bytes,
            limit_bytes,
        });
    }
    let actual = Sha256::of(&bytes);
    if actual == digest {
        Ok(bytes)
    } else {
        Err(ReadLayoutError::Damaged {
            expected: digest,
            actual,
        })
    }
}

/// Opens a blob of a layout. What is read is not verified.
///
/// # Errors
/// When it is not there, or no file of the layout.
pub fn open_in_layout(directory: &Path, digest: Sha256) -> io::Result<File> {
    open_foreign(directory, Path::new(&blob_path(digest)))
}

/// Copies a blob of a layout into the store.
///
/// # Errors
/// When it is not there or damaged.
pub fn copy_from_layout(directory: &Path, digest: Sha256, blobs: &Blobs) -> Result<(), BlobError> {
    let path = directory.join(blob_path(digest));
    let mut writer = blobs.writer()?;
    open_in_layout(directory, digest)
        .and_then(|mut file| io::copy(&mut file, &mut writer))
        .map_err(|source| BlobError::Io { path, source })?;
    writer.finish(Some(digest))?;
    Ok(())
}
