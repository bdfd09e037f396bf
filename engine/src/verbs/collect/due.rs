//! Whether it is time to collect garbage: a look at one small file and at the disk, and no walk.
//!
//! ```text
//! collected   bytes and inodes that the cache had after the last collection, and bytes and inodes that
//!             were used of the whole disk; its modification time is that of the collection
//! ```
//!
//! The cache has at most what it had then, and what the disk has filled since or kilns have added, if
//! that is more: something else may have left the disk meanwhile.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::time::Duration;

use kiln_cache::{DiskMeasure, DiskUsage, Limits, hundredths};
use kiln_oci::Timestamp;

use crate::storage::disk::Disk;
use crate::stores::Stores;

/// The file that says it.
pub(super) const STAMP: &str = "collected";

/// Hundredths of the most that the cache may have which a collection leaves free.
pub(super) const HEADROOM: u8 = 10;

/// What of it the cache has at most before it is collected, in hundredths: the builds that run
/// meanwhile need some, too.
const TRIGGER: u8 = 95;

/// Between two collections that may find nothing: deleting what others left, looking at a disk that
/// is full of other things or a cache that is in use.
const PRESSED: Duration = Duration::from_secs(300);
/// Between two collections for what an interrupted one left to be deleted.
const FOR_TRASH: Duration = Duration::from_secs(3600);
/// Between two collections that only look for what is old.
const FOR_AGE: Duration = Duration::from_secs(86_400);

/// What is known since the last collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    age: Duration,
    /// What the cache had left.
    left: DiskUsage,
    /// What was used of the disk.
    used: DiskUsage,
    /// What kilns have added.
    grown: DiskUsage,
}

impl Stamp {
    /// Reads the stamp of a state directory; none if garbage was never collected, or by an older kiln.
    pub(super) fn read(stores: &Stores) -> Option<Self> {
        let path = stores.store.path(STAMP);
        let collected = fs::metadata(&path).and_then(|metadata| metadata.modified());
        let age = age_of(collected.ok()?.into(), Timestamp::now());
        let text = fs::read_to_string(path).unwrap_or_default();
        let numbers: Vec<u64> = text
            .split_ascii_whitespace()
            .map_while(|number| number.parse().ok())
            .collect();
        let [bytes, inodes, disk_bytes, disk_inodes] = numbers[..] else {
            return None;
        };
        Some(Self {
            age,
            left: DiskUsage { bytes, inodes },
            used: DiskUsage {
                bytes: disk_bytes,
                inodes: disk_inodes,
            },
            grown: stores.store.growth(),
        })
    }

    /// Notes that garbage was collected now, and what the cache has left.
    pub(super) fn write(stores: &Stores, left: DiskUsage, disk: Disk) -> io::Result<()> {
        let used = disk.used();
        let text = format!(
            "{} {} {} {}\n",
            left.bytes, left.inodes, used.bytes, used.inodes
        );
        // One that is cut short by a crash is that of an older kiln.
        File::create(stores.store.path(STAMP))?.write_all(text.as_bytes())
    }

    /// Returns the most that the cache can have now.
    pub(super) fn estimate(&self, disk: Disk) -> DiskUsage {
        let filled = disk.used() - self.used;
        let grown = self.grown;
        self.left
            + DiskUsage {
                bytes: filled.bytes.max(grown.bytes),
                inodes: filled.inodes.max(grown.inodes),
            }
    }

    /// Says whether limits may be exceeded.
    pub(super) fn is_due(
        &self,
        limits: &Limits,
        disk: Disk,
        is_trash: impl FnOnce() -> bool,
    ) -> bool {
        let estimate = self.estimate(disk);
        let may_be_large = |measure: DiskMeasure, most: Option<u64>| {
            let most = most.map_or(u64::MAX, |most| hundredths(most, TRIGGER));
            let was_large = self.left.measured_in(measure) > most;
            estimate.measured_in(measure) > most && (!was_large || self.age >= PRESSED)
        };
        let is_below = |least: Option<u64>, free: u64| least.is_some_and(|least| free < least);
        let is_reserved = estimate.bytes <= limits.reserved_bytes;
        let is_large = (!is_reserved && may_be_large(DiskMeasure::Bytes, limits.max_used_bytes))
            || may_be_large(DiskMeasure::Inodes, limits.max_used_inodes);
        let is_pressed = (!is_reserved && is_below(limits.min_free_bytes, disk.free.bytes))
            || is_below(limits.min_free_inodes, disk.free.inodes);
        is_large
            || (is_pressed && self.age >= PRESSED)
            || (limits.max_age.is_some() && self.age >= FOR_AGE)
            || (self.age >= FOR_TRASH && is_trash())
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk::Inodes;

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

    fn disk(used_bytes: u64, free_bytes: u64) -> Disk {
        Disk {
            size_bytes: 10_000,
            used_bytes,
            inodes: None,
            free: DiskUsage {
                bytes: free_bytes,
                inodes: u64::MAX,
            },
        }
    }

    fn stamp(age: Duration, left_bytes: u64) -> Stamp {
        let bytes = |bytes| DiskUsage { bytes, inodes: 0 };
        Stamp {
            age,
            left: bytes(left_bytes),
            used: bytes(5000),
            grown: bytes(0),
        }
    }

    #[test]
    fn growth_counts_when_something_else_left_the_disk() {
        let limits = Limits {
            max_used_bytes: Some(1000),
            max_used_inodes: Some(60),
            ..Limits::default()
        };
        let grown = |bytes, inodes| Stamp {
            grown: DiskUsage { bytes, inodes },
            ..stamp(Duration::ZERO, 900)
        };
        for (stamp, expected) in [
            (grown(50, 57), false),
            (grown(51, 0), true),
            (grown(0, 58), true),
        ] {
            assert_eq!(stamp.is_due(&limits, disk(100, 60), || false), expected);
        }
    }

    #[test]
    fn collection_is_due_as_soon_as_a_limit_can_be_exceeded() {
        let limits = Limits {
            reserved_bytes: 10,
            max_used_bytes: Some(1000),
            min_free_bytes: Some(50),
            ..Limits::default()
        };
        let aged = Limits {
            max_age: Some(FOR_AGE),
            ..limits
        };
        let now = Duration::ZERO;
        for (stamp, limits, disk, expected) in [
            // What the disk has filled since counts, whoever did that.
            (stamp(now, 900), limits, disk(5050, 60), false),
            (stamp(now, 900), limits, disk(5051, 60), true),
            (stamp(FOR_AGE, 900), limits, disk(4000, 60), false),
            // What could not be freed then is not tried again behind each build.
            (stamp(now, 951), limits, disk(5051, 60), false),
            (stamp(PRESSED, 951), limits, disk(5051, 60), true),
            (stamp(now, 0), limits, disk(5050, 40), false),
            (stamp(PRESSED, 0), limits, disk(5050, 40), true),
            (stamp(PRESSED, 0), limits, disk(5010, 40), false),
            (stamp(FOR_AGE, 0), limits, disk(5000, 60), false),
            (stamp(FOR_AGE, 0), aged, disk(5000, 60), true),
            (stamp(FOR_TRASH, 0), aged, disk(5000, 60), false),
        ] {
            let due = stamp.is_due(&limits, disk, || false);
            assert_eq!(due, expected, "{stamp:?} {disk:?}");
        }
        assert!(stamp(FOR_TRASH, 0).is_due(&limits, disk(5000, 60), || true));
        assert!(!stamp(PRESSED, 0).is_due(&limits, disk(5000, 60), || true));
    }

    #[test]
    fn collection_is_due_for_inodes_whatever_is_reserved() {
        let limits = Limits {
            reserved_bytes: u64::MAX,
            max_used_inodes: Some(1000),
            min_free_inodes: Some(50),
            ..Limits::default()
        };
        let stamp = Stamp {
            age: PRESSED,
            left: DiskUsage {
                bytes: 0,
                inodes: 900,
            },
            used: DiskUsage {
                bytes: 0,
                inodes: 5000,
            },
            grown: DiskUsage::default(),
        };
        let inodes = |used, inodes| Disk {
            inodes: Some(Inodes {
                count: 10_000,
                used,
            }),
            free: DiskUsage { bytes: 60, inodes },
            ..disk(0, 60)
        };
        for (disk, expected) in [
            (inodes(5050, 60), false),
            (inodes(5051, 60), true),
            (inodes(5050, 49), true),
        ] {
            assert_eq!(stamp.is_due(&limits, disk, || false), expected, "{disk:?}");
        }
    }
}
