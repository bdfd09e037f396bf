//! Why a record is not here any more: one line for each that was evicted.
//!
//! ```text
//! <key> <seconds since 1970> <reason>\n
//! ```
//!
//! Collection appends the lines before it removes the records, so a key that is missing
//! because it was evicted always has one. A line cut short by a crash is skipped by readers. When
//! the file has grown to twice what is kept, the older half goes. Nothing depends on it: without it
//! a miss is explained less well.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use crate::{ActionKey, Store};
use kiln_oci::Timestamp;

/// Lines that are kept when the file is shortened: some two megabytes.
const KEPT: usize = 20_000;

/// When a record was evicted, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// When.
    pub when: Timestamp,
    /// Why, in words that follow "because of": see [`EvictionReason`].
    pub reason: String,
}

/// Why something leaves the cache. Its text follows "because of".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvictionReason {
    /// The cache may hold only so many bytes.
    SizeLimit(u64),
    /// Less than so many bytes were free on the disk.
    FreeSpace(u64),
    /// The cache may hold only so many inodes.
    InodeLimit(u64),
    /// Fewer than so many inodes were free on the disk.
    FreeInodes(u64),
    /// It was not used for so long.
    Age(Duration),
    /// The user asked for it, with this command.
    Asked(&'static str),
    /// It was found damaged.
    Damage,
}

impl fmt::Display for EvictionReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SizeLimit(bytes) => write!(f, "the {} limit", ByteCount(*bytes)),
            Self::FreeSpace(bytes) => write!(f, "less than {} free", ByteCount(*bytes)),
            Self::InodeLimit(count) => write!(f, "the limit of {count} inodes"),
            Self::FreeInodes(count) => write!(f, "fewer than {count} inodes free"),
            Self::Age(age) => write!(f, "not being used for {}", Days(*age)),
            Self::Asked(command) => f.write_str(command),
            Self::Damage => f.write_str("damage"),
        }
    }
}

/// Bytes as a limit is written: `10 GB`. Units are powers of 1024 where that gives a whole number,
/// as docker's flags have them, else powers of 1000.
struct ByteCount(u64);

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["bytes", "kB", "MB", "GB", "TB"];
        for power in (1..UNITS.len()).rev() {
            let unit = 1_u64 << (10 * power);
            if self.0 >= unit && self.0.is_multiple_of(unit) {
                return write!(f, "{} {}", self.0 / unit, UNITS[power]);
            }
        }
        let mut unit = 0;
        let mut scale = 1;
        while self.0 / scale >= 1000 && unit + 1 < UNITS.len() {
            scale *= 1000;
            unit += 1;
        }
        match (self.0 * 10 / scale) % 10 {
            0 => write!(f, "{} {}", self.0 / scale, UNITS[unit]),
            tenth => write!(f, "{}.{tenth} {}", self.0 / scale, UNITS[unit]),
        }
    }
}

/// A long time in its largest whole unit.
struct Days(Duration);

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (count, unit) = match seconds {
            0..120 => (seconds, "second"),
            120..7_200 => (seconds / 60, "minute"),
            7_200..172_800 => (seconds / 3_600, "hour"),
            _ => (seconds / 86_400, "day"),
        };
        let plural = if count == 1 { "" } else { "s" };
        write!(f, "{count} {unit}{plural}")
    }
}

/// The tombstones of a state directory.
#[derive(Clone, Debug)]
pub struct Tombstones {
    path: PathBuf,
    store: Store,
}

impl Tombstones {
    /// Returns the tombstones of `store`.
    #[must_use]
    pub fn new(store: &Store) -> Self {
        Self {
            path: store.path("tombstones"),
            store: store.clone(),
        }
    }

    /// Returns why the record of `key` is not here any more; none if it was not evicted, or too
    /// long ago. Says nothing about whether a record was made again since.
    #[must_use]
    pub fn get(&self, key: ActionKey) -> Option<Tombstone> {
        self.get_many(&[key]).into_iter().next().flatten()
    }

    /// As [`Tombstones::get`] for several keys in one reading.
    #[must_use]
    pub fn get_many(&self, keys: &[ActionKey]) -> Vec<Option<Tombstone>> {
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        let wanted: HashSet<&ActionKey> = keys.iter().collect();
        // The last line about a key counts.
        let found: HashMap<ActionKey, Tombstone> = text
            .lines()
            .filter_map(parse)
            .filter(|(key, _)| wanted.contains(key))
            .collect();
        keys.iter().map(|key| found.get(key).cloned()).collect()
    }

    /// Notes why records are removed. To be called before, with exclusive use of the state directory.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add(
        &self,
        evicted: impl IntoIterator<Item = (ActionKey, EvictionReason)>,
        when: Timestamp,
    ) -> io::Result<()> {
        let lines: String = evicted
            .into_iter()
            .map(|(key, reason)| format!("{key} {} {reason}\n", when.seconds))
            .collect();
        if lines.is_empty() {
            return Ok(());
        }
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&self.path)?;
        let mut last = [b'\n'];
        if file.seek(SeekFrom::End(0))? > 0 {
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
        }
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
        file.write_all(lines.as_bytes())?;
        self.shorten()
    }

    /// Drops the oldest lines if there are too many.
    fn shorten(&self) -> io::Result<()> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            // Damaged beyond reading: better none than one that stays so.
            Err(error) if error.kind() == ErrorKind::InvalidData => String::new(),
            Err(error) => return Err(error),
        };
        let count = text.lines().count();
        if count <= 2 * KEPT && !text.is_empty() {
            return Ok(());
        }
        let mut kept = String::new();
        for line in text.lines().skip(count.saturating_sub(KEPT)) {
            kept.push_str(line);
            kept.push('\n');
        }
        let temporary = self.store.work_file()?;
        fs::write(&temporary, kept)?;
        fs::rename(temporary, &self.path)
    }
}

fn parse(line: &str) -> Option<(ActionKey, Tombstone)> {
    let mut parts = line.splitn(3, ' ');
    let key = parts.next()?.parse().ok()?;
    let when = Timestamp::from_seconds(parts.next()?.parse().ok()?);
    let reason = parts.next()?.to_owned();
    Some((key, Tombstone { when, reason }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_tree::Blake3;

    fn key(number: usize) -> ActionKey {
        ActionKey(Blake3::of(&number.to_le_bytes()))
    }

    fn tombstones() -> (tempfile::TempDir, Tombstones) {
        let directory = tempfile::tempdir().unwrap();
        let tombstones = Tombstones::new(&Store::open(directory.path()).unwrap());
        (directory, tombstones)
    }

    #[test]
    fn the_last_eviction_of_a_key_counts() {
        let (_directory, tombstones) = tombstones();
        assert_eq!(tombstones.get(key(1)), None);
        let add = |number, reason, seconds| {
            let when = Timestamp::from_seconds(seconds);
            tombstones.add([(key(number), reason)], when).unwrap();
        };
        add(1, EvictionReason::SizeLimit(10 << 30), 100);
        add(2, EvictionReason::Asked("kiln cache prune"), 200);
        add(1, EvictionReason::Damage, 300);
        let reason = |number| tombstones.get(key(number)).map(|found| found.reason);
        assert_eq!(reason(1).as_deref(), Some("damage"));
        assert_eq!(reason(2).as_deref(), Some("kiln cache prune"));
        assert_eq!(reason(3), None);
        let when = tombstones.get(key(1)).unwrap().when;
        assert_eq!(when, Timestamp::from_seconds(300));
    }

    #[test]
    fn a_line_cut_short_does_not_swallow_the_next() {
        let (directory, tombstones) = tombstones();
        let path = directory.path().join("tombstones");
        fs::write(&path, format!("{} 12", key(1))).unwrap();
        tombstones
            .add([(key(2), EvictionReason::Damage)], Timestamp::EPOCH)
            .unwrap();
        assert_eq!(tombstones.get(key(1)), None);
        assert!(tombstones.get(key(2)).is_some());
    }

    #[test]
    fn a_file_that_is_no_text_is_begun_anew() {
        let (directory, tombstones) = tombstones();
        let path = directory.path().join("tombstones");
        fs::write(&path, b"\xff\n").unwrap();
        let add = |number| {
            let evicted = [(key(number), EvictionReason::Damage)];
            tombstones.add(evicted, Timestamp::EPOCH).unwrap();
        };
        add(1);
        assert_eq!(fs::read(&path).unwrap(), b"");
        add(2);
        assert!(tombstones.get(key(2)).is_some());
    }

    #[test]
    fn the_oldest_are_dropped() {
        let (directory, tombstones) = tombstones();
        let many = |range: std::ops::Range<usize>| {
            let evicted = range.map(|number| (key(number), EvictionReason::Damage));
            tombstones.add(evicted, Timestamp::EPOCH).unwrap();
        };
        many(0..2 * KEPT);
        assert!(tombstones.get(key(0)).is_some());
        many(2 * KEPT..2 * KEPT + 1);
        assert_eq!(tombstones.get(key(0)), None);
        assert!(tombstones.get(key(2 * KEPT)).is_some());
        let text = fs::read_to_string(directory.path().join("tombstones")).unwrap();
        assert_eq!(text.lines().count(), KEPT);
    }

    #[test]
    fn reasons_are_words() {
        let day = Duration::from_secs(86_400);
        for (reason, text) in [
            (EvictionReason::SizeLimit(10 << 30), "the 10 GB limit"),
            (EvictionReason::SizeLimit(1_500_000), "the 1.5 MB limit"),
            (EvictionReason::SizeLimit(0), "the 0 bytes limit"),
            (EvictionReason::FreeSpace(5 << 30), "less than 5 GB free"),
            (EvictionReason::InodeLimit(7), "the limit of 7 inodes"),
            (EvictionReason::FreeInodes(7), "fewer than 7 inodes free"),
            (EvictionReason::Age(7 * day), "not being used for 7 days"),
            (EvictionReason::Age(day), "not being used for 24 hours"),
        ] {
            assert_eq!(reason.to_string(), text);
        }
    }
}
