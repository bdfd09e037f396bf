//! The file system of the state directory.

use crate::Error;
use crate::stores::Stores;

/// Returns the bytes that this user may still write to the disk of the state directory.
pub(crate) fn free_bytes(stores: &Stores) -> Result<u64, Error> {
    Ok(disk(stores)?.free_bytes)
}

pub(crate) fn disk(stores: &Stores) -> Result<Disk, Error> {
    let found = rustix::fs::statvfs(stores.store.root())
        .map_err(|error| Error::environment("cannot look at the disk", error))?;
    let unit = found.f_frsize;
    Ok(Disk {
        size_bytes: found.f_blocks.saturating_mul(unit),
        free_bytes: found.f_bavail.saturating_mul(unit),
        used_bytes: found.f_blocks.saturating_sub(found.f_bfree) * unit,
    })
}

/// The file system of the state directory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Disk {
    pub(crate) size_bytes: u64,
    pub(crate) free_bytes: u64,
    pub(crate) used_bytes: u64,
}
