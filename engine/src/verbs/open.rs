//! Opening a state directory.

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
