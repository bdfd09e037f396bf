//! The containers of a state directory.

use kiln_containers::Containers;

use crate::Error;
use crate::stores::Stores;

/// Returns all containers of the state directory.
///
/// # Errors
/// When the directory cannot be used.
pub fn containers(stores: &Stores) -> Result<Containers, Error> {
    Containers::open(&stores.store.path("containers")).map_err(Error::from)
}
