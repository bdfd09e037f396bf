//! The images of the local store: listing, finding, naming, removing, explaining.

use kiln_cache::Named;
use kiln_containers::{ContainerError, ContainerId, Status};
use kiln_oci::{ImageId, ImageRef, Platform, Sha256, Timestamp};
use serde_json::{Value, json};

use crate::containers;
use crate::containers::container_error;
use crate::local_image;
use crate::sizes;
use crate::stores::Stores;
use crate::{Error, LocalImage};

/// One row of `kiln images`.
#[derive(Clone, Debug)]
pub struct ImageSummary {
    /// Repository and tag; none for an image without a name.
    pub name: Option<ImageRef>,
    /// The image's id.
    pub id: ImageId,
    /// The manifest (or index) the name stands for.
    pub manifest: Sha256,
    /// When the image was made.
    pub created: Option<Timestamp>,
    /// Bytes of its layers.
    pub size_bytes: u64,
}

/// One row of `kiln history`, newest first.
#[derive(Clone, Debug)]
pub struct HistoryRow {
    /// The image's id in the first row.
    pub id: Option<ImageId>,
    /// When the entry was made.
    pub created: Option<Timestamp>,
    /// The instruction.
    pub created_by: String,
    /// Bytes of its layer.
    pub size_bytes: u64,
    /// Which builder made it.
    pub comment: String,
}

/// What removing an image did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removal {
    /// A name went.
    Untagged(ImageRef),
    /// The image has no name any more.
    Deleted(ImageId),
}

/// A container that was made of an image.
struct User {
    id: ContainerId,
    status: Status,
}

/// Says why an image cannot be deleted by its id, and whether it can be by force, in docker's words.
fn conflict(names: &[ImageRef], users: &[User], force: bool) -> Option<(&'static str, String)> {
    match users {
        [user, ..] if user.status == Status::Running => Some((
            "cannot be forced",
            format!(
                "image is being used by running container {}",
                user.id.short()
            ),
        )),
        _ if force => None,
        _ if names.len() > 1 => Some((
            "must be forced",
            "image is referenced in multiple repositories".to_owned(),
        )),
        [user, ..] => Some((
            "must be forced",
            format!(
                "image is being used by stopped container {}",
                user.id.short()
            ),
        )),
        [] => None,
    }
}

/// Lists the images, newest first.
///
/// # Errors
/// When the store cannot be read.
pub fn images(stores: &Stores) -> Result<Vec<ImageSummary>, Error> {
    let mut rows = Vec::new();
    let mut named = Vec::new();
    for Named { name, manifest } in names(stores)? {
        // A name whose content was damaged is not listed; `inspect` says what is wrong.
        if let Ok(image) = local_image::read(stores, manifest) {
            named.push(image.id());
            rows.push(summary(stores, Some(name), &image));
        }
    }
    let all = stores
        .ids
        .starting_with("")
        .map_err(|error| Error::environment("cannot list the local images", &error))?;
    for (id, manifest) in all {
        if !named.contains(&id)
            && let Ok(image) = local_image::read(stores, manifest)
        {
            rows.push(summary(stores, None, &image));
        }
    }
    rows.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.name.cmp(&b.name)));
    Ok(rows)
}

fn summary(stores: &Stores, name: Option<ImageRef>, image: &LocalImage) -> ImageSummary {
    ImageSummary {
        name,
        id: image.id(),
        manifest: image.descriptor().digest,
        created: image.representative().config.created,
        size_bytes: sizes::size_of(stores, image.images()),
    }
}

/// Finds a local image by name, digest, id or the beginning of its id.
///
/// # Errors
/// [`Error::NoSuchImage`] if there is none.
pub fn find(stores: &Stores, text: &str) -> Result<(Option<ImageRef>, LocalImage), Error> {
    if let Ok(name) = text.parse::<ImageRef>() {
        let name = name.with_default_tag();
        let manifest = match name.digest() {
            Some(digest) => Some(digest),
            None => stores.tags.get(&name).map_err(|e| names_error(&e))?,
        };
        match (manifest, name.digest()) {
            (Some(manifest), None) => {
                let image = read_named(stores, &name, manifest)?;
                return Ok((Some(name), image));
            }
            (Some(manifest), Some(_)) => {
                if let Ok(image) = local_image::read(stores, manifest) {
                    return Ok((Some(name), image));
                }
            }
            (None, _) => {}
        }
    }
    find_by_id(stores, text)?
        .map(|image| (None, image))
        .ok_or_else(|| Error::NoSuchImage(text.to_owned()))
}

/// Reads what a name of the local store stands for.
///
/// # Errors
/// When it is damaged: that is not the same as absent.
pub(crate) fn read_named(
    stores: &Stores,
    name: &ImageRef,
    manifest: Sha256,
) -> Result<LocalImage, Error> {
    local_image::read(stores, manifest).map_err(|error| Error::Environment {
        message: format!("image {} is damaged: {error}", name.familiar()),
        hint: Some("build, pull or load it again".to_owned()),
    })
}

fn find_by_id(stores: &Stores, text: &str) -> Result<Option<LocalImage>, Error> {
    let prefix = text.strip_prefix("sha256:").unwrap_or(text);
    let is_hex = prefix.bytes().all(|b| b.is_ascii_hexdigit());
    if prefix.is_empty() || prefix.len() > 64 || !is_hex {
        return Ok(None);
    }
    let found = stores
        .ids
        .starting_with(&prefix.to_ascii_lowercase())
        .map_err(|error| Error::environment("cannot list the local images", &error))?;
    let mut found = found
        .into_iter()
        .filter_map(|(_, manifest)| local_image::read(stores, manifest).ok());
    match (found.next(), found.next()) {
        (Some(image), None) => Ok(Some(image)),
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(Error::input(format!(
            "multiple IDs found with provided prefix: {text}"
        ))),
    }
}

/// Gives an image another name.
///
/// # Errors
/// When there is no such image.
pub fn tag(stores: &Stores, source: &str, target: &ImageRef) -> Result<(), Error> {
    let (_, image) = find(stores, source)?;
    let target = target.clone().with_default_tag();
    stores
        .tags
        .set(&target, image.descriptor().digest)
        .map_err(|error| names_error(&error))
}

/// Removes a name, or with an id all names of an image. Its content goes when garbage is
/// collected. An image that a container was made of stays unless `force` says otherwise, and
/// one that a container runs of stays in any case.
///
/// # Errors
/// When there is no such image, it is in use, or an id has several names and `force` is false.
pub fn remove_image(stores: &Stores, text: &str, force: bool) -> Result<Vec<Removal>, Error> {
    let (name, image) = match find(stores, text) {
        Ok(found) => found,
        Err(error) => return remove_damaged(stores, text).ok_or(error),
    };
    let names: Vec<ImageRef> = names(stores)?
        .into_iter()
        .filter(|named| {
            local_image::read(stores, named.manifest).is_ok_and(|i| i.id() == image.id())
        })
        .map(|named| named.name)
        .collect();
    let users = users_of(stores, image.id())?;
    let going = match name {
        Some(name) if name.digest().is_none() => {
            if let (false, [_], Some(user)) = (force, &*names, users.first()) {
                return Err(Error::input(format!(
                    "conflict: unable to remove repository reference \"{text}\" (must force) - \
                     container {} is using its referenced image {}",
                    user.id.short(),
                    image.id().0.short()
                )));
            }
            vec![name]
        }
        _ => {
            if let Some((how, why)) = conflict(&names, &users, force) {
                return Err(Error::input(format!(
                    "conflict: unable to delete {} ({how}) - {why}",
                    image.id().0.short()
                )));
            }
            names.clone()
        }
    };
    let mut removals = Vec::new();
    for name in &going {
        if stores
            .tags
            .remove(name)
            .map_err(|error| names_error(&error))?
        {
            removals.push(Removal::Untagged(name.clone()));
        }
    }
    let is_running = users.iter().any(|user| user.status == Status::Running);
    if names.iter().all(|name| going.contains(name)) && !is_running {
        stores
            .ids
            .remove(image.id())
            .map_err(|error| Error::environment("cannot remove an image", &error))?;
        removals.push(Removal::Deleted(image.id()));
    }
    Ok(removals)
}

/// Returns the containers that were made of an image, running ones first.
fn users_of(stores: &Stores, image: ImageId) -> Result<Vec<User>, Error> {
    let mut users = Vec::new();
    for container in containers::containers(stores)?
        .list()
        .map_err(|e| container_error(&e))?
    {
        let look = || Ok((container.spec()?, container.state()?));
        match look() {
            Ok((spec, _)) if spec.image_id.parse() != Ok(image) => {}
            Ok((_, state)) => users.push(User {
                id: container.id().clone(),
                status: state.status,
            }),
            // It was removed while we looked.
            Err(ContainerError::NotFound(_)) => {}
            Err(error) => return Err(container_error(&error)),
        }
    }
    users.sort_by_key(|user| user.status != Status::Running);
    Ok(users)
}

/// Removes the name of an image of which nothing else can be told; none if there is no such name.
fn remove_damaged(stores: &Stores, text: &str) -> Option<Vec<Removal>> {
    let name = text.parse::<ImageRef>().ok()?.with_default_tag();
    let is_name = name.digest().is_none();
    let is_removed = is_name && stores.tags.remove(&name).unwrap_or_default();
    is_removed.then(|| vec![Removal::Untagged(name)])
}

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
    let (_, local) = find(stores, text)?;
    let mut tags = Vec::new();
    let mut digests = Vec::new();
    for Named { name, manifest } in names(stores)? {
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

/// Lists how an image came about, newest entry first: of an index, the image for `platform`, or
/// for this machine.
///
/// # Errors
/// When there is no such image.
pub fn history(
    stores: &Stores,
    text: &str,
    platform: Option<&Platform>,
) -> Result<Vec<HistoryRow>, Error> {
    let (_, local) = find(stores, text)?;
    let image = match platform {
        Some(_) => local.choose(text, platform)?,
        None => local.representative(),
    };
    let mut sizes = image
        .layers()
        .map(|(diff_id, descriptor)| sizes::layer_size(stores, diff_id, descriptor));
    let mut rows: Vec<HistoryRow> = image
        .config
        .history
        .iter()
        .map(|entry| HistoryRow {
            id: None,
            created: entry.created,
            created_by: entry.created_by.clone(),
            size_bytes: match entry.empty_layer {
                true => 0,
                false => sizes.next().unwrap_or(0),
            },
            comment: entry.comment.clone(),
        })
        .collect();
    rows.reverse();
    if let Some(first) = rows.first_mut() {
        first.id = Some(local.id());
    }
    Ok(rows)
}

/// Makes an image findable by its id.
pub(crate) fn keep(stores: &Stores, image: &LocalImage) -> Result<(), Error> {
    stores
        .ids
        .add(image.id(), image.descriptor().digest)
        .map_err(|error| Error::environment("cannot note an image", &error))
}

/// The same for an image from elsewhere, which has no layer unpacked yet: that its config is
/// the one of an image that is here does not make it that image.
pub(crate) fn keep_foreign(stores: &Stores, image: &LocalImage) -> Result<(), Error> {
    match stores.ids.get(image.id()) {
        Some(manifest) if local_image::read(stores, manifest).is_ok() => Ok(()),
        _ => keep(stores, image),
    }
}

pub(crate) fn names(stores: &Stores) -> Result<Vec<Named>, Error> {
    stores.tags.list().map_err(|error| names_error(&error))
}

pub(crate) fn names_error(error: &kiln_cache::NamesError) -> Error {
    Error::environment("cannot read or write a name in the local store", error)
}
