//! The file system of the state directory.

use kiln_cache::DiskUsage;

use crate::Error;
use crate::stores::Stores;

pub(crate) fn disk(stores: &Stores) -> Result<Disk, Error> {
    let found = rustix::fs::statvfs(stores.store.root())
        .map_err(|error| Error::environment("cannot look at the disk", error))?;
    let unit = found.f_frsize;
    Ok(Disk {
        size_bytes: found.f_blocks.saturating_mul(unit),
        used_bytes: found.f_blocks.saturating_sub(found.f_bfree) * unit,
        inodes: (found.f_files > 0).then(|| Inodes {
            count: found.f_files,
            used: found.f_files.saturating_sub(found.f_ffree),
        }),
        free: DiskUsage {
            bytes: found.f_bavail.saturating_mul(unit),
            inodes: if found.f_files > 0 {
                found.f_favail
            } else {
                u64::MAX
            },
        },
    })
}

/// The file system of the state directory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Disk {
    pub(crate) size_bytes: u64,
    pub(crate) used_bytes: u64,
    /// None where the file system makes inodes as it needs them.
    pub(crate) inodes: Option<Inodes>,
    /// What this user may still take.
    pub(crate) free: DiskUsage,
}

impl Disk {
    /// Returns what is used of it.
    pub(crate) fn used(&self) -> DiskUsage {
        DiskUsage {
            bytes: self.used_bytes,
            inodes: self.inodes.map_or(0, |inodes| inodes.used),
        }
    }
}

/// The inodes of a file system that has a fixed number of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inodes {
    pub(crate) count: u64,
    pub(crate) used: u64,
}
