//! Opening a state directory.

use std::path::Path;

use crate::Error;
use crate::storage::{Damage, recover};
use crate::stores::{Stores, StoresOptions, StoresPurpose};

/// Opens a state directory, making it if there is none. Opened for work, it also returns what was
/// found damaged that kilns left behind.
///
/// # Errors
/// When it cannot be used.
pub fn open(options: &StoresOptions) -> Result<(Stores, Vec<Damage>), Error> {
    let stores = Stores::open(options)?;
    let damaged = match options.purpose {
        StoresPurpose::Look => Vec::new(),
        StoresPurpose::Work => recover::recover(&stores)?,
    };
    Ok((stores, damaged))
}

/// Refuses a state directory of another user. To be asked before namespaces are entered, in which
/// the user has another id, and messages would name that.
///
/// # Errors
/// When it belongs to another user.
pub fn check_owner(root: &Path) -> Result<(), Error> {
    kiln_cache::check_owner(root)
        .map_err(|error| Error::environment("cannot open the state directory", error))
}
