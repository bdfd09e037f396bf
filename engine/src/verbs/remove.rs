//! Removing images and their names.

use std::collections::HashMap;

use kiln_containers::{ContainerError, ContainerId, ContainerStatus};
use kiln_oci::{ImageId, TaggedRef};

use crate::Error;
use crate::containers;
use crate::images;
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

/// The containers that were made of each image, looked up once for all the images that a request
/// removes.
pub(crate) struct ImageUsers(HashMap<ImageId, Vec<User>>);

impl ImageUsers {
    /// Reads the containers; of those of an image running ones come first.
    pub(crate) fn read(stores: &Stores) -> Result<Self, Error> {
        let mut users: HashMap<ImageId, Vec<User>> = HashMap::new();
        for container in containers::containers(stores)?
            .list()
            .map_err(Error::from)?
        {
            let look = || Ok((container.spec()?, container.state()?));
            match look() {
                Ok((spec, state)) => {
                    if let Ok(image) = spec.image_id.parse() {
                        users.entry(image).or_default().push(User {
                            id: container.id().clone(),
                            status: state.status,
                        });
                    }
                }
                // Another kiln removed it meanwhile.
                Err(ContainerError::NotFound(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        for users in users.values_mut() {
            users.sort_by_key(|user| user.status != ContainerStatus::Running);
        }
        Ok(Self(users))
    }

    /// Says whether containers were made of an image.
    pub(crate) fn has_containers(&self, image: ImageId) -> bool {
        self.0.contains_key(&image)
    }
}

/// Removes images, one after the other, and tells `done` what came of each. Each text is a name, which
/// goes, or an id, with which all names of an image go. The content goes when garbage is
/// collected. An image that a container was made of stays unless `force` says otherwise, and one
/// that a container runs of stays in any case.
///
/// All containers are read once, however many images go.
///
/// # Errors
/// When names or containers cannot be read, or those of `done`. That there is no such image, that it
/// is in use, or that an id has several names and `force` is false is told to `done`.
pub fn remove_images<E: From<Error>>(
    stores: &Stores,
    texts: &[String],
    force: bool,
    mut done: impl FnMut(Result<Vec<ImageRemoval>, Error>) -> Result<(), E>,
) -> Result<(), E> {
    let users = ImageUsers::read(stores)?;
    for text in texts {
        done(remove_one(stores, &users, text, force))?;
    }
    Ok(())
}

/// Removes one of the images of a request.
pub(crate) fn remove_one(
    stores: &Stores,
    users: &ImageUsers,
    text: &str,
    force: bool,
) -> Result<Vec<ImageRemoval>, Error> {
    let (name, image) = match images::find(stores, text) {
        Ok(found) => found,
        Err(error) => return remove_damaged(stores, text).ok_or(error),
    };
    let named = images::names_of(stores, &image)?;
    let mut names: Vec<TaggedRef> = named.into_iter().map(|named| named.name).collect();
    let users = users.0.get(&image.id()).map_or(&[][..], Vec::as_slice);
    let going = match name {
        Some(name) if name.digest().is_none() => {
            if let (false, [_], Some(user)) = (force, &names[..], users.first()) {
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
            if let Some((how, why)) = conflict(&names, users, force) {
                return Err(Error::conflict(format!(
                    "conflict: unable to delete {} ({how}) - {why}",
                    image.id().0.short()
                )));
            }
            names.clone()
        }
    };
    let mut removals = Vec::new();
    for name in going {
        if stores.tags.remove(&name).map_err(images::names_error)? {
            removals.push(ImageRemoval::Untagged(name.clone()));
        }
        names.retain(|other| *other != name);
    }
    let is_running = users
        .iter()
        .any(|user| user.status == ContainerStatus::Running);
    if names.is_empty() && !is_running {
        stores
            .notes
            .remove(image.id())
            .map_err(|error| Error::environment("cannot remove an image", error))?;
        removals.push(ImageRemoval::Deleted(image.id()));
    }
    Ok(removals)
}

/// Removes the name of an image of which nothing else can be told; none if there is no such name.
fn remove_damaged(stores: &Stores, text: &str) -> Option<Vec<ImageRemoval>> {
    let name: TaggedRef = text.parse().ok()?;
    let is_name = name.digest().is_none();
    let is_removed = is_name && stores.tags.remove(&name).unwrap_or_default();
    is_removed.then(|| vec![ImageRemoval::Untagged(name)])
}
