//! Collecting now and then, behind builds.
//!
//! Whether it is time costs two looks at the disk and no walk: a stamp says when garbage was
//! collected last, and what is used of the whole disk bounds what the cache can have.

use std::fs::{self, File};
use std::time::Duration;

use kiln_cache::{Limits, Trash};
use kiln_oci::Timestamp;

use super::prune::{PruneExtent, PruneRequest, PruneTurn, Pruned};
use crate::Error;
use crate::storage::disk::{self, Disk};
use crate::storage::roots::UnnamedImages;
use crate::stores::Stores;
use crate::verbs::prune;

/// Between two collections.
const USUALLY: Duration = Duration::from_secs(3600);
/// Between two collections when the disk is nearly full.
const PRESSED: Duration = Duration::from_secs(300);
/// Between two collections that only look for what is old.
const FOR_AGE: Duration = Duration::from_secs(86_400);

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
            Self::Percent(hundredths) => percent(whole, hundredths),
        }
    }
}

fn percent(whole: u64, hundredths: u8) -> u64 {
    whole / 100 * u64::from(hundredths)
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
            None => most.min(percent(disk_bytes, part)),
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
    let stamp = stores.store.path("collected");
    let Ok(collected) = fs::metadata(&stamp).and_then(|metadata| metadata.modified()) else {
        // A new state directory has nothing to collect.
        let _ = File::create(&stamp);
        return false;
    };
    let age = age_of(collected.into(), Timestamp::now());
    if age < PRESSED {
        return false;
    }
    let Ok(disk) = disk::disk(stores) else {
        return false;
    };
    let is_trash = || !Trash::new(&stores.store).is_empty();
    is_due(&limits_on(settings, disk), disk, age) || (age >= USUALLY && is_trash())
}

/// Returns how long ago garbage was collected. A time to come says nothing, because a clock was wrong:
/// without a collection, which notes the time of its own, there would be none until then.
fn age_of(collected: Timestamp, now: Timestamp) -> Duration {
    if collected.since(now) > PRESSED {
        FOR_AGE
    } else {
        now.since(collected)
    }
}

/// Collects what the limits do not allow, and deletes it; none if other kilns are at work, whose
/// turn it is then.
///
/// # Errors
/// As [`prune_cache`](crate::verbs::prune_cache).
pub fn collect(stores: &Stores, settings: &CacheSettings) -> Result<Option<Pruned>, Error> {
    let request = PruneRequest {
        extent: PruneExtent::Everything,
        select: &|_| true,
        limits: Some(cache_limits(stores, settings)?),
        unnamed: settings.unnamed,
        command: "automatic collection",
    };
    let pruned = prune::prune_cache(stores, &request, &PruneTurn::Skip)?;
    if pruned.is_some() {
        let stamp = stores.store.path("collected");
        prune::empty_trash(stores);
        File::create(&stamp).map_err(Error::at("cannot write", &stamp))?;
    }
    Ok(pruned)
}

/// Says whether limits may be exceeded on this disk, and the last collection is long enough ago.
fn is_due(limits: &Limits, disk: Disk, age: Duration) -> bool {
    let is_below = |least: Option<u64>, free: u64| least.is_some_and(|least| free < least);
    let is_above = |most: Option<u64>, used: u64| most.is_some_and(|most| used > most);
    // All that the disk holds is more than the cache has.
    let is_reserved = disk.used_bytes <= limits.reserved_bytes;
    let used_inodes = disk.inodes.map_or(u64::MAX, |inodes| inodes.used);
    let is_pressed = (!is_reserved && is_below(limits.min_free_bytes, disk.free.bytes))
        || is_below(limits.min_free_inodes, disk.free.inodes);
    let may_be_large = (!is_reserved && is_above(limits.max_used_bytes, disk.used_bytes))
        || is_above(limits.max_used_inodes, used_inodes);
    (is_pressed && age >= PRESSED)
        || (may_be_large && age >= USUALLY)
        || (limits.max_age.is_some() && age >= FOR_AGE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk::Inodes;
    use kiln_cache::DiskUsage;

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

    #[test]
    fn collection_to_come_was_noted_by_a_wrong_clock() {
        let now = Timestamp::from_seconds(1_000_000);
        for (collected, expected) in [
            (999_000, Duration::from_secs(1000)),
            (1_000_000, Duration::ZERO),
            (1_000_200, Duration::ZERO),
            (1_000_400, FOR_AGE),
            (4_000_000_000, FOR_AGE),
        ] {
            assert_eq!(age_of(Timestamp::from_seconds(collected), now), expected);
        }
    }

    #[test]
    fn collection_is_due_only_where_a_limit_can_be_exceeded() {
        let limits = Limits {
            reserved_bytes: 10,
            max_used_bytes: Some(100),
            min_free_bytes: Some(50),
            ..Limits::default()
        };
        let disk = |used_bytes, bytes| Disk {
            size_bytes: 1000,
            used_bytes,
            inodes: None,
            free: DiskUsage {
                bytes,
                inodes: u64::MAX,
            },
        };
        let inodes = |used, inodes| Disk {
            inodes: Some(Inodes { count: 1000, used }),
            free: DiskUsage { bytes: 60, inodes },
            ..disk(9, 60)
        };
        let counted = Limits {
            max_used_inodes: Some(100),
            min_free_inodes: Some(50),
            ..limits
        };
        let aged = Limits {
            max_age: Some(FOR_AGE),
            ..limits
        };
        for (limits, disk, age, expected) in [
            (limits, disk(90, 60), FOR_AGE, false),
            (limits, disk(110, 60), USUALLY, true),
            (limits, disk(110, 60), PRESSED, false),
            (limits, disk(90, 40), PRESSED, true),
            (limits, disk(9, 0), FOR_AGE, false),
            (aged, disk(9, 0), FOR_AGE, true),
            (aged, disk(90, 60), USUALLY, false),
            (counted, inodes(100, 50), FOR_AGE, false),
            (counted, inodes(101, 50), USUALLY, true),
            (counted, inodes(100, 49), PRESSED, true),
            (limits, inodes(1000, 0), FOR_AGE, false),
            (counted, disk(9, 60), USUALLY, true),
        ] {
            assert_eq!(is_due(&limits, disk, age), expected, "{disk:?} {age:?}");
        }
    }
}
