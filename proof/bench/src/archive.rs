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
/// What is wrong with it; among others, if layers above the first are compressed otherwise.
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
        // The first one is the base's, which no builder has to compress again.
        if number > 0 && !media_type.ends_with(compression.name()) {
            return Err(format!("layer {number} is of type {media_type}"));
        }
        // tar sees by the first bytes how an archive is compressed.
        extract(&blob(&layout, layer)?, &root)?;
    }
    area.discard_blobs(&layout)
        .map_err(|error| error.to_string())?;
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

#[cfg(test)]
mod tests {
    use kiln_testbed::{Scratch, need, need_root, run};
    use serde_json::json;
    use sha2::{Digest, Sha256};

    use super::*;

    /// Stores a blob and returns its descriptor.
    fn store(layout: &Path, media_type: &str, content: &[u8]) -> Value {
        let digest: String = Sha256::digest(content)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let directory = layout.join("blobs/sha256");
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(&digest), content).unwrap();
        json!({
            "mediaType": media_type,
            "digest": format!("sha256:{digest}"),
            "size": content.len(),
        })
    }

    /// Returns a tar of one file.
    fn layer(scratch: &Scratch, name: &str, gzip: bool) -> Vec<u8> {
        fs::write(scratch.join(name), name).unwrap();
        let archive = scratch.join(format!("{name}.tar"));
        let mut tar = Command::new("tar");
        tar.arg(if gzip { "-czf" } else { "-cf" }).arg(&archive);
        run(tar.arg("-C").arg(scratch.path()).arg(name));
        fs::read(archive).unwrap()
    }

    #[test]
    fn layers_above_the_base_are_as_compressed_as_they_should_be() {
        need!(need_root());
        let scratch = Scratch::new();
        let directory = scratch.join("area");
        fs::create_dir(&directory).unwrap();
        let area = match Area::new(&directory) {
            Ok(area) => area,
            Err(error) => kiln_testbed::skip!("{error}"),
        };
        let layout = scratch.join("layout");
        let tar = "application/vnd.oci.image.layer.v1.tar";
        let layers = [
            store(&layout, tar, &layer(&scratch, "base", false)),
            store(
                &layout,
                &format!("{tar}+gzip"),
                &layer(&scratch, "top", true),
            ),
        ];
        let manifest = json!({ "layers": layers }).to_string();
        let manifest = store(&layout, "", manifest.as_bytes());
        let index = json!({ "manifests": [manifest] }).to_string();
        fs::write(layout.join("index.json"), index).unwrap();
        let archive = scratch.join("archive.tar");
        run(Command::new("tar")
            .arg("-cf")
            .arg(&archive)
            .arg("-C")
            .arg(&layout)
            .arg("."));

        let image = unpack(&area, &archive, Compression::Gzip).unwrap();
        assert_eq!(image.read("/base"), Ok("base".to_owned()));
        assert_eq!(image.read("/top"), Ok("top".to_owned()));
        let error = unpack(&area, &archive, Compression::Zstd).unwrap_err();
        assert!(error.contains("layer 1 is of type"), "{error}");
    }
}
