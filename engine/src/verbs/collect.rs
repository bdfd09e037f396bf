//! Collecting now and then, behind builds.

mod due; // whether it is time

use std::time::Duration;

use kiln_cache::{Limits, Trash, hundredths};

use super::prune::{PruneExtent, PruneRequest, PruneTurn, Pruned};
use crate::Error;
use crate::storage::disk::{self, Disk};
use crate::storage::inventory;
use crate::storage::roots::UnnamedImages;
use crate::stores::Stores;
use crate::verbs::prune;
use due::{HEADROOM, Stamp};

/// The most that the cache takes unless something else is wanted, whatever the disk: BuildKit's
/// figures, for the machine of a developer as for that of a team.
const MOST_BYTES: u64 = 100 << 30;
/// What the cache may always have.
const RESERVED_BYTES: u64 = 10 << 30;

/// A number of bytes or inodes, or a part of those of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// So many.
    Number(u64),
    /// So many hundredths of what the disk has that the state directory is on.
    Percent(u8),
}

impl Amount {
    fn of(self, whole: u64) -> u64 {
        match self {
            Self::Number(number) => number,
            Self::Percent(count) => hundredths(whole, count),
        }
    }
}

/// What the user wants the cache to keep; what is absent has a default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheSettings {
    /// What is never taken from the cache to make room: 10 GB or a tenth of the disk.
    pub reserved: Option<Amount>,
    /// What it has at most: 100 GB or 60 % of the disk.
    pub max_used: Option<Amount>,
    /// What it leaves free: 20 GB or a fifth of the disk.
    pub min_free: Option<Amount>,
    /// How many inodes it has at most: 60 % of those of the disk.
    pub max_used_inodes: Option<Amount>,
    /// How many inodes it leaves free: a tenth of those of the disk.
    pub min_free_inodes: Option<Amount>,
    /// How long an entry stays that no build uses: for ever.
    pub max_age: Option<Duration>,
    /// What becomes of images whose last name moved on.
    pub unnamed: UnnamedImages,
    /// Whether builds collect garbage.
    pub collection: Collection,
}

/// Whether builds collect garbage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Collection {
    /// Now and then.
    #[default]
    Automatic,
    /// Only a command that asks for it does.
    ByHand,
}

impl CacheSettings {
    /// Returns the limits that follow on a disk of so many bytes, and inodes if their number is fixed.
    #[must_use]
    pub fn limits(&self, disk_bytes: u64, disk_inodes: Option<u64>) -> Limits {
        let bytes = |wanted: Option<Amount>, most: u64, part: u8| match wanted {
            Some(amount) => amount.of(disk_bytes),
            None => most.min(hundredths(disk_bytes, part)),
        };
        let inodes = |wanted: Option<Amount>, part: u8| match (wanted, disk_inodes) {
            (Some(Amount::Number(number)), _) => Some(number),
            (_, None) => None,
            (wanted, Some(whole)) => Some(wanted.unwrap_or(Amount::Percent(part)).of(whole)),
        };
        Limits {
            reserved_bytes: bytes(self.reserved, RESERVED_BYTES, 10),
            max_used_bytes: Some(bytes(self.max_used, MOST_BYTES, 60)),
            min_free_bytes: Some(bytes(self.min_free, 2 * RESERVED_BYTES, 20)),
            max_used_inodes: inodes(self.max_used_inodes, 60),
            min_free_inodes: inodes(self.min_free_inodes, 10),
            max_age: self.max_age,
            headroom: 0,
        }
    }
}

/// Returns the limits of the cache on the disk that it is on.
///
/// # Errors
/// When the disk cannot be looked at.
pub fn cache_limits(stores: &Stores, settings: &CacheSettings) -> Result<Limits, Error> {
    Ok(limits_on(settings, disk::disk(stores)?))
}

fn limits_on(settings: &CacheSettings, disk: Disk) -> Limits {
    settings.limits(disk.size_bytes, disk.inodes.map(|inodes| inodes.count))
}

/// Says whether garbage should be collected now. Costs next to nothing and may be asked after
/// every build; what cannot be found out is not due.
#[must_use]
pub fn is_collection_due(stores: &Stores, settings: &CacheSettings) -> bool {
    if settings.collection == Collection::ByHand {
        return false;
    }
    let Ok(disk) = disk::disk(stores) else {
        return false;
    };
    match Stamp::read(stores) {
        Some(stamp) => stamp.is_due(&limits_on(settings, disk), disk, || {
            !Trash::new(&stores.store).is_empty()
        }),
        None => {
            // It is looked at once, and watched from now on.
            let _ = stores.store.forget_growth();
            let has = inventory::inventory(stores, settings.unnamed);
            let has = has.map(|(inventory, _)| inventory.ref_counts.cached());
            let _ = Stamp::write(stores, has.unwrap_or_default(), disk);
            false
        }
    }
}

/// Collects what the limits do not allow, and deletes it; none if other kilns let nobody collect, or
/// collect themselves.
///
/// # Errors
/// As [`prune_cache`](crate::verbs::prune_cache).
pub fn collect(stores: &Stores, settings: &CacheSettings) -> Result<Option<Pruned>, Error> {
    let limits = Limits {
        headroom: HEADROOM,
        ..cache_limits(stores, settings)?
    };
    let request = PruneRequest {
        extent: PruneExtent::Everything,
        select: &|_| true,
        limits: Some(limits),
        unnamed: settings.unnamed,
        command: "automatic collection",
    };
    let before = disk::disk(stores)?;
    // Without a change of the file more is collected than need be.
    let _ = stores.store.forget_growth();
    let pruned = prune::prune_cache(stores, &request, &PruneTurn::Skip);
    prune::empty_trash(stores);
    let left = match &pruned {
        Ok(Some(pruned)) => pruned.left,
        // As much as before: it is tried again, but not behind each build.
        _ => Stamp::read(stores).map_or_else(|| before.used(), |stamp| stamp.estimate(before)),
    };
    let stamped = Stamp::write(stores, left, disk::disk(stores)?);
    let pruned = pruned?;
    stamped.map_err(Error::at("cannot write", &stores.store.path(due::STAMP)))?;
    Ok(pruned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB: u64 = 1 << 30;

    #[test]
    fn defaults_follow_the_disk() {
        let limits = CacheSettings::default().limits(1000 * GB, Some(1000));
        assert_eq!(limits.max_used_inodes, Some(600));
        assert_eq!(limits.min_free_inodes, Some(100));
        assert_eq!(limits.reserved_bytes, 10 * GB);
        assert_eq!(limits.max_used_bytes, Some(100 * GB));
        assert_eq!(limits.min_free_bytes, Some(20 * GB));
        let limits = CacheSettings::default().limits(50 * GB, None);
        assert_eq!(limits.max_used_inodes, None);
        assert_eq!(limits.reserved_bytes, 50 * GB / 100 * 10);
        assert_eq!(limits.max_used_bytes, Some(50 * GB / 100 * 60));
        let wanted = CacheSettings {
            max_used: Some(Amount::Percent(50)),
            min_free: Some(Amount::Number(7)),
            max_used_inodes: Some(Amount::Number(8)),
            ..CacheSettings::default()
        };
        let limits = wanted.limits(100 * GB, None);
        assert_eq!(limits.max_used_inodes, Some(8));
        assert_eq!(limits.max_used_bytes, Some(100 * GB / 100 * 50));
        assert_eq!(limits.min_free_bytes, Some(7));
    }
}
