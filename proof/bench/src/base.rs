//! The images everybody starts from.
//!
//! A static busybox is written as an OCI layout here, without the help of any of the builders.
//! Where a scenario needs more, the test bed has kiln build a Debian from packages, and Debian's
//! Node.js; those are kept from one run to the next.

use std::env::consts::ARCH;
use std::fs;
use std::path::{Path, PathBuf};

use kiln_testbed::{Bases, Registry, Umoci, busybox_tarball};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::area::Area;
use crate::error::Error;

/// The names they have in Dockerfiles.
pub(crate) const BUSYBOX: &str = "busybox";
pub(crate) const DEBIAN: &str = "debian";
pub(crate) const NODE: &str = "node";

/// Puts a base that kiln builds into a registry as `library/<name>`, and returns where its root
/// file system lies unpacked.
///
/// # Errors
///
/// With [`Error::Lacking`] where its ingredients are missing.
pub(crate) fn build_and_publish(
    name: &str,
    kiln: &Path,
    area: &Area,
    registry: &Registry,
) -> Result<PathBuf, Error> {
    let kiln = kiln.canonicalize().map_err(|error| {
        Error::Lacking(format!(
            "the {name} base is built by kiln, and there is none: {error}"
        ))
    })?;
    let layout = Bases::by(&kiln).layout(name)?;
    registry.push_layout(&layout, "latest", &format!("library/{name}"))?;
    Ok(Umoci::new()?.unpack(&layout, "latest", &area.unused(name)))
}

/// Puts busybox into a registry as `library/busybox`.
pub(crate) fn publish(area: &Area, registry: &Registry) -> Result<(), Error> {
    let layout = area.fresh("base")?;
    let archive = layout.join("rootfs.tar");
    busybox_tarball(&archive)?;
    let layer = fs::read(&archive).map_err(Error::at(&archive))?;
    write_layout(&layout, &layer).map_err(Error::at(&layout))?;
    registry.push_layout(&layout, "latest", &format!("library/{BUSYBOX}"))?;
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
