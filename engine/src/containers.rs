//! The containers of a state directory.

use kiln_containers::{ContainerError, Containers};

use crate::Error;
use crate::stores::Stores;

/// Returns all containers of the state directory.
///
/// # Errors
/// When the directory cannot be used.
pub fn containers(stores: &Stores) -> Result<Containers, Error> {
    Containers::open(&stores.store.path("containers")).map_err(|error| container_error(&error))
}

/// Sorts a failure of the containers' own code.
pub(crate) fn container_error(error: &ContainerError) -> Error {
    match error {
        ContainerError::Io { .. } => Error::environment("container", error),
        ContainerError::NotFound(name) => Error::NoSuchContainer(name.clone()),
        ContainerError::NameTaken { .. }
        | ContainerError::AlreadyRunning(_)
        | ContainerError::NotRunning(_)
        | ContainerError::Running(_) => Error::Conflict(error.to_string()),
        _ => Error::input(crate::error::chain(error)),
    }
}
