//! The image everybody starts from: a static busybox, written as an OCI layout without the
//! help of any of the builders.

use std::env::consts::ARCH;
use std::fs;
use std::path::Path;

use kiln_testbed::{Registry, busybox_tarball};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::area::Area;
use crate::error::Error;

/// The name it has in Dockerfiles.
pub(crate) const NAME: &str = "busybox";

/// Puts the image into a registry as `library/busybox`.
pub(crate) fn publish(area: &Area, registry: &Registry) -> Result<(), Error> {
    let layout = area.fresh("base")?;
    let archive = layout.join("rootfs.tar");
    busybox_tarball(&archive)?;
    let layer = fs::read(&archive).map_err(Error::at(&archive))?;
    write_layout(&layout, &layer).map_err(Error::at(&layout))?;
    registry.push_layout(&layout, "latest", &format!("library/{NAME}"))?;
    Ok(())
}

/// Writes an image of one layer. OCI image-spec v1.1, image-layout.md.
fn write_layout(layout: &Path, layer: &[u8]) -> std::io::Result<()> {
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let store = |media_type: &str, bytes: &[u8]| -> std::io::Result<Value> {
        let digest = sha256(bytes);
        fs::write(blobs.join(&digest), bytes)?;
        Ok(json!({
            "mediaType": format!("application/vnd.oci.image.{media_type}"),
            "digest": format!("sha256:{digest}"),
            "size": bytes.len(),
        }))
    };
    let config = json!({
        "created": "2023-11-14T22:13:20Z",
        "architecture": architecture(),
        "os": "linux",
        "config": {
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Cmd": ["sh"],
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", sha256(layer))]},
        "history": [{"created": "2023-11-14T22:13:20Z", "created_by": "busybox"}],
    });
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": store("config.v1+json", config.to_string().as_bytes())?,
        "layers": [store("layer.v1.tar", layer)?],
    });
    let mut manifest = store("manifest.v1+json", manifest.to_string().as_bytes())?;
    manifest["annotations"] = json!({"org.opencontainers.image.ref.name": "latest"});
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    fs::write(layout.join("index.json"), index.to_string())?;
    fs::write(
        layout.join("oci-layout"),
        json!({"imageLayoutVersion": "1.0.0"}).to_string(),
    )
}

/// Returns what Go, and so OCI, calls the architecture this program was built for.
fn architecture() -> &'static str {
    match ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
