//! Removing images and their names.

use kiln_containers::{ContainerError, ContainerId, ContainerStatus};
use kiln_oci::{ImageId, TaggedRef};

use crate::Error;
use crate::containers;
use crate::images;
use crate::local_image;
use crate::stores::Stores;

/// What removing an image did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageRemoval {
    /// A name went.
    Untagged(TaggedRef),
    /// The image has no name any more.
    Deleted(ImageId),
}

/// A container that was made of an image.
struct User {
    id: ContainerId,
    status: ContainerStatus,
}

/// Says why an image cannot be deleted by its id, and whether it can be by force, in docker's words.
fn conflict(names: &[TaggedRef], users: &[User], force: bool) -> Option<(&'static str, String)> {
    match users {
        [user, ..] if user.status == ContainerStatus::Running => Some((
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

/// Removes a name, or with an id all names of an image. Its content goes when garbage is
/// collected. An image that a container was made of stays unless `force` says otherwise, and
/// one that a container runs of stays in any case.
///
/// # Errors
/// When there is no such image, it is in use, or an id has several names and `force` is false.
pub fn remove_image(stores: &Stores, text: &str, force: bool) -> Result<Vec<ImageRemoval>, Error> {
    let (name, image) = match images::find(stores, text) {
        Ok(found) => found,
        Err(error) => return remove_damaged(stores, text).ok_or(error),
    };
    let names: Vec<TaggedRef> = images::names(stores)?
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
                return Err(Error::conflict(format!(
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
                return Err(Error::conflict(format!(
                    "conflict: unable to delete {} ({how}) - {why}",
                    image.id().0.short()
                )));
            }
            names.clone()
        }
    };
    let mut removals = Vec::new();
    for name in &going {
        if stores.tags.remove(name).map_err(images::names_error)? {
            removals.push(ImageRemoval::Untagged(name.clone()));
        }
    }
    let is_running = users
        .iter()
        .any(|user| user.status == ContainerStatus::Running);
    if names.iter().all(|name| going.contains(name)) && !is_running {
        stores
            .ids
            .remove(image.id())
            .map_err(|error| Error::environment("cannot remove an image", error))?;
        removals.push(ImageRemoval::Deleted(image.id()));
    }
    Ok(removals)
}

/// Returns the containers that were made of an image, running ones first.
fn users_of(stores: &Stores, image: ImageId) -> Result<Vec<User>, Error> {
    let mut users = Vec::new();
    for container in containers::containers(stores)?
        .list()
        .map_err(Error::from)?
    {
        let look = || Ok((container.spec()?, container.state()?));
        match look() {
            Ok((spec, _)) if spec.image_id.parse() != Ok(image) => {}
            Ok((_, state)) => users.push(User {
                id: container.id().clone(),
                status: state.status,
            }),
            // Another kiln removed it meanwhile.
            Err(ContainerError::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    users.sort_by_key(|user| user.status != ContainerStatus::Running);
    Ok(users)
}

/// Removes the name of an image of which nothing else can be told; none if there is no such name.
fn remove_damaged(stores: &Stores, text: &str) -> Option<Vec<ImageRemoval>> {
    let name: TaggedRef = text.parse().ok()?;
    let is_name = name.digest().is_none();
    let is_removed = is_name && stores.tags.remove(&name).unwrap_or_default();
    is_removed.then(|| vec![ImageRemoval::Untagged(name)])
}
