//! OCI archives, looked into by GNU tar alone: umoci reads no zstd.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::area::Area;
use crate::builders::Compression;
use crate::image::{Image, succeed};

/// Unpacks the image in an OCI archive whose layers only add files.
///
/// # Errors
///
/// What is wrong with it; among others, if its layers are compressed otherwise.
pub(crate) fn unpack(
    area: &Area,
    archive: &Path,
    compression: Compression,
) -> Result<Image, String> {
    let layout = area.unused("layout");
    extract(archive, &layout)?;
    let index = read_json(&layout.join("index.json"))?;
    let manifest = read_json(&blob(&layout, &index["manifests"][0])?)?;
    let layers = manifest["layers"].as_array().ok_or("it has no layers")?;
    let root = area.unused("root");
    for (number, layer) in layers.iter().enumerate() {
        let media_type = layer["mediaType"].as_str().unwrap_or("nothing");
        if !media_type.ends_with(compression.name()) {
            return Err(format!("layer {number} is of type {media_type}"));
        }
        // tar sees by the first bytes how an archive is compressed.
        extract(&blob(&layout, layer)?, &root)?;
    }
    Ok(Image::of_root(root))
}

fn extract(archive: &Path, directory: &Path) -> Result<(), String> {
    fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut command = Command::new("tar");
    command
        .args(["--extract", "--numeric-owner", "--same-permissions"])
        .arg("--file")
        .arg(archive)
        .arg("--directory")
        .arg(directory);
    succeed(&mut command).map(drop)
}

/// Returns the file of what a descriptor describes. OCI image-spec v1.1, image-layout.md.
fn blob(layout: &Path, descriptor: &Value) -> Result<PathBuf, String> {
    let digest = descriptor["digest"].as_str().ok_or("a digest is missing")?;
    let path = layout.join("blobs").join(digest.replace(':', "/"));
    match fs::metadata(&path) {
        Ok(metadata) if Some(metadata.len()) == descriptor["size"].as_u64() => Ok(path),
        Ok(metadata) => Err(format!("{digest} has {} bytes", metadata.len())),
        Err(error) => Err(format!("{digest}: {error}")),
    }
}

fn read_json(path: &Path) -> Result<Value, String> {
    let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| format!("{} is no JSON: {error}", path.display()))
}
