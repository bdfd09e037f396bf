//! Describing an image.

use kiln_cache::Named;
use kiln_oci::Platform;
use serde_json::{Value, json};

use crate::Error;
use crate::images;
use crate::local_image;
use crate::sizes;
use crate::stores::Stores;

/// Describes an image as `docker image inspect` does: of an index, the image for `platform`, or
/// for this machine, under the index's id.
///
/// # Errors
/// When there is no such image.
pub fn inspect_image(
    stores: &Stores,
    text: &str,
    platform: Option<&Platform>,
) -> Result<Value, Error> {
    let (_, local) = images::find(stores, text)?;
    let mut tags = Vec::new();
    let mut digests = Vec::new();
    for Named { name, manifest } in images::names(stores)? {
        if local_image::read(stores, manifest).is_ok_and(|i| i.id() == local.id()) {
            tags.push(name.familiar());
            digests.push(format!("{}@{manifest}", name.familiar_repository()));
        }
    }
    digests.dedup();
    let image = match platform {
        Some(_) => local.choose(text, platform)?,
        None => local.representative(),
    };
    let descriptor = match platform {
        Some(_) => &image.descriptor,
        None => local.descriptor(),
    };
    let config = &image.config;
    let mut value = json!({
        "Id": local.id().to_string(),
        "RepoTags": tags,
        "RepoDigests": digests,
        "Comment": config.history.last().map(|h| h.comment.as_str()).unwrap_or_default(),
        "Created": config.created.map(|c| c.to_string()),
        "Author": config.author.clone().unwrap_or_default(),
        "Config": serde_json::to_value(&config.config).unwrap_or_default(),
        "Architecture": config.architecture,
        "Variant": config.variant,
        "Os": config.os,
        "Size": sizes::size_of(stores, std::slice::from_ref(image)),
        "RootFS": {
            "Type": "layers",
            "Layers": config.rootfs.diff_ids,
        },
        "Descriptor": serde_json::to_value(descriptor).unwrap_or_default(),
    });
    if let Some(index) = &local.index {
        let manifests = serde_json::to_value(&index.manifests).unwrap_or_default();
        value["Manifests"] = manifests;
    }
    Ok(value)
}
