//! The containers of a state directory.

use kiln_containers::{ContainerError, Containers};

use crate::Error;
use crate::explanation::Explanation;
use crate::stores::Stores;

/// Returns all containers of the state directory.
///
/// # Errors
/// When the directory cannot be used.
pub fn containers(stores: &Stores) -> Result<Containers, Error> {
    Containers::open(&stores.store.path("containers")).map_err(container_error)
}

/// Sorts a failure of the containers' own code.
pub(crate) fn container_error(error: ContainerError) -> Error {
    match error {
        ContainerError::Io { .. } => Error::environment("container", error),
        ContainerError::NotFound(name) => Error::NoSuchContainer(name),
        ContainerError::NameTaken { .. }
        | ContainerError::AlreadyRunning(_)
        | ContainerError::NotRunning(_)
        | ContainerError::Running(_) => Error::Conflict(Explanation::Passed(error.into())),
        _ => Error::bad_input(error),
    }
}
