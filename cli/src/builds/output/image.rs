//! The attributes that all images have in common.

use kiln_engine::{
    BaseLayers, DanglingName, DanglingWhen, FileTimes, ImageOutput, MediaFamily, PushAs, Transport,
};
use kiln_oci::ImageRef;

use super::super::compression;
use super::attributes::OutputAttributes;
use super::tag::parse_tag;

/// Takes the attributes that all images have in common.
pub(super) fn options(attributes: &mut OutputAttributes) -> Result<ImageOutput, String> {
    let compression_name = attributes.take("compression");
    let compression = compression::parse(compression_name.as_deref())?;
    let level = compression::parse_level(attributes.take("compression-level"), compression)?;
    let media_types = match attributes.boolean("oci-mediatypes")? {
        Some(false) => MediaFamily::Docker,
        _ => MediaFamily::Oci,
    };
    media_types
        .check(compression)
        .map_err(|error| error.to_string())?;
    let names = attributes.take("name").unwrap_or_default();
    let names = names
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(parse_tag)
        .collect::<Result<_, _>>()?;
    let flag = |attributes: &mut OutputAttributes, key: &str| {
        attributes.boolean(key).map(|value| value == Some(true))
    };
    // An image can be had by its digest under any name, so there is nothing to add.
    attributes.boolean("name-canonical")?;
    // Layers that registries do not hold stay what they are.
    attributes.boolean("prefer-nondist-layers")?;
    attributes.ignore_attestations();
    Ok(ImageOutput {
        compression,
        level,
        force: flag(attributes, "force-compression")?,
        media_types,
        names,
        dangling: dangling(attributes)?,
        push_as: if flag(attributes, "push-by-digest")? {
            PushAs::Digest
        } else {
            PushAs::Tags
        },
        transport: if flag(attributes, "registry.insecure")? {
            Transport::Insecure
        } else {
            Transport::Secure
        },
        base_layers: if flag(attributes, "unpack")? {
            BaseLayers::Now
        } else {
            BaseLayers::WhenNeeded
        },
        file_times: if flag(attributes, "rewrite-timestamp")? {
            FileTimes::Clamp
        } else {
            FileTimes::Keep
        },
        epoch: attributes.epoch()?,
        annotations: std::mem::take(&mut attributes.annotations),
    })
}

/// Takes the name that an image has by its digest.
fn dangling(attributes: &mut OutputAttributes) -> Result<Option<DanglingName>, String> {
    let mut only_unnamed = false;
    // The first spelling is BuildKit's.
    for key in ["danging-name-empty-only", "dangling-name-empty-only"] {
        only_unnamed |= attributes.boolean(key)?.unwrap_or(false);
    }
    let Some(prefix) = attributes.take("dangling-name-prefix") else {
        return Ok(None);
    };
    let repository: ImageRef = prefix
        .parse()
        .map_err(|error| format!("invalid dangling-name-prefix {prefix:?}: {error}"))?;
    match (repository.tag(), repository.digest()) {
        (None, None) => Ok(Some(DanglingName {
            repository,
            when: if only_unnamed {
                DanglingWhen::Unnamed
            } else {
                DanglingWhen::Always
            },
        })),
        _ => Err(format!(
            "invalid dangling-name-prefix {prefix:?}: expected a repository without tag and digest"
        )),
    }
}
