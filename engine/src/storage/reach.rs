//! What a manifest leads to.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read as _;

use kiln_cache::Blobs;
use kiln_oci::{DiffId, Sha256};
use serde_json::Value;

/// Everything that an image, or an index of images, is made of; here or not.
#[derive(Clone, Debug, Default)]
pub(crate) struct ManifestReach {
    /// Manifests, configs and layers as registries name them.
    pub(crate) blobs: HashSet<Sha256>,
    /// Layers as images name them, here or described.
    pub(crate) diff_ids: HashSet<DiffId>,
}

impl ManifestReach {
    /// Adds what can be reached from a manifest or index. What is not here or not JSON leads
    /// nowhere. Kinds are told by members, not by media types: what is attached to an image
    /// stays with it, whatever it is.
    pub(crate) fn add(&mut self, blobs: &Blobs, manifest: Sha256) {
        let mut pending = vec![manifest];
        while let Some(digest) = pending.pop() {
            if !self.blobs.insert(digest) {
                continue;
            }
            let Some(json) = read(blobs, digest) else {
                continue;
            };
            pending.extend(digests(&json["manifests"]));
            self.blobs.extend(digests(&json["layers"]));
            let Some(config) = digest_of(&json["config"]) else {
                continue;
            };
            self.blobs.insert(config);
            let config = read(blobs, config).unwrap_or_default();
            let diff_ids = config["rootfs"]["diff_ids"].as_array();
            let diff_ids = diff_ids.into_iter().flatten().filter_map(Value::as_str);
            self.diff_ids
                .extend(diff_ids.filter_map(|text| text.parse::<DiffId>().ok()));
        }
    }
}

/// Says how far below the name of an image a document stands: an index above its manifests, these
/// above their configs. None for what is no document.
pub(crate) fn document_depth(blobs: &Blobs, digest: Sha256) -> Option<u8> {
    let json = read(blobs, digest)?;
    Some(if json["manifests"].is_array() {
        0
    } else if json["config"].is_object() {
        1
    } else {
        2
    })
}

fn read(blobs: &Blobs, digest: Sha256) -> Option<Value> {
    /// Bytes. Registries refuse manifests of more than four mebibytes; configs can be longer.
    const LONGEST: u64 = 32 << 20;
    let path = blobs.path(digest);
    let mut file = File::open(&path).ok()?;
    let length = file.metadata().ok()?.len();
    // Layers are told by their first byte.
    let mut first = [0];
    file.read_exact(&mut first).ok()?;
    if length > LONGEST || first != *b"{" {
        return None;
    }
    serde_json::from_slice(&blobs.read(digest).ok()?).ok()
}

fn digests(descriptors: &Value) -> impl Iterator<Item = Sha256> {
    let descriptors = descriptors.as_array().into_iter().flatten();
    descriptors.filter_map(digest_of)
}

fn digest_of(descriptor: &Value) -> Option<Sha256> {
    descriptor["digest"].as_str()?.parse().ok()
}
