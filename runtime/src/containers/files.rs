//! Files that several processes share.

use std::fs::{self, File, OpenOptions};
use std::path::Path;

use super::ContainerError;

pub(super) fn lock_file(path: &Path) -> Result<File, ContainerError> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(ContainerError::at(path))
}

pub(super) fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<(), ContainerError> {
    let text = serde_json::to_vec_pretty(value).map_err(|source| ContainerError::NotStorable {
        path: path.to_owned(),
        source,
    })?;
    write_file(path, &text)
}

/// Replaces a file, so that a reader sees the old or the new one.
pub(super) fn write_file(path: &Path, text: &[u8]) -> Result<(), ContainerError> {
    let new = path.with_extension("new");
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, path))
        .map_err(ContainerError::at(path))
}
