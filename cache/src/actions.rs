//! "This step, these inputs" leads to a result: action keys, records, receipts.
//!
//! A record is one small JSON file named by its key and replaced by rename. Its modification time
//! is its last use, to within an hour, so that finding it again and again writes nothing. A record
//! is written last, after everything it names; if something it names has
//! gone meanwhile, a reader that finds that out treats it as a miss.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::stack_parts::{PartUse, PartsByStack, StackFile, StackParts};
use crate::{BlobError, DiskUsage, LayerStack, SpreadFile, Store, Unsettled};
use kiln_oci::Timestamp;
use kiln_tree::{Blake3, Encode, Encoder};

kiln_oci::identity! {
    /// Names a step and its inputs; leads to an [`crate::ActionRecord`].
    ActionKey(Blake3)
}

impl Encode for ActionKey {
    fn encode(&self, encoder: &mut Encoder) {
        self.0.encode(encoder);
    }
}

/// The precision of the last use of a record.
const USE_RESOLUTION: Duration = Duration::from_secs(3600);

/// The result of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionRecord {
    /// The file system after the step.
    pub state: LayerStack,
    /// How long the step took when it ran.
    pub took: Duration,
    /// What went into the key, by name: the answer to "why did it run again?".
    pub receipt: Receipt,
    /// The keys it has besides that of its recipe, which say what the recipe led to.
    pub evidence: Vec<ActionKey>,
}

/// A record as it is written.
#[derive(Debug, Serialize, Deserialize)]
struct RecordFile {
    state: StackFile,
    #[serde(with = "milliseconds")]
    took: Duration,
    receipt: Receipt,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    evidence: Vec<ActionKey>,
}

impl RecordFile {
    /// Returns the record; none if a part of its stack is lost.
    fn read(bytes: &[u8], parts: &StackParts, part_use: PartUse) -> Option<ActionRecord> {
        let file: Self = serde_json::from_slice(bytes).ok()?;
        Some(ActionRecord {
            state: parts.read(&file.state, part_use)?,
            took: file.took,
            receipt: file.receipt,
            evidence: file.evidence,
        })
    }
}

/// The named ingredients of a key, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Receipt(pub Vec<Ingredient>);

/// One ingredient of a key. Never a secret, a proxy or anything else that is not in the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ingredient {
    /// Its name, e.g. `command`, `ENV PATH`, `files of the context`.
    pub name: String,
    /// Its value, or the digest of a long one.
    pub value: String,
}

impl Receipt {
    /// Adds an ingredient.
    pub fn add(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.push(Ingredient {
            name: name.into(),
            value: value.into(),
        });
    }
}

/// Why a record could not be stored.
#[derive(Debug, thiserror::Error)]
#[error("action cache: {path}")]
pub struct CacheError {
    /// The file or place concerned.
    pub path: PathBuf,
    /// What went wrong.
    pub source: io::Error,
}

impl CacheError {
    fn of_part(path: &Path, error: BlobError) -> Self {
        Self {
            path: path.to_owned(),
            source: match error {
                BlobError::Io { source, .. } => source,
                other => io::Error::other(other),
            },
        }
    }
}

/// A map from keys to records: here the local one; a registry or an object store can be another.
///
/// Batched, because a round trip is what a remote one costs.
pub trait CacheBackend: std::fmt::Debug + Send + Sync {
    /// Returns the record for each key, in order; none where there is none.
    ///
    /// A backend that cannot be reached or a record that cannot be read is a miss.
    fn get_many(&self, keys: &[ActionKey]) -> Vec<Option<ActionRecord>>;

    /// Stores a record under several keys.
    ///
    /// # Errors
    /// When it cannot be written.
    fn put(&self, keys: &[ActionKey], record: &ActionRecord) -> Result<(), CacheError>;
}

/// The records of a state directory.
#[derive(Clone, Debug)]
pub struct Actions {
    store: Store,
    parts: StackParts,
}

impl Actions {
    /// Returns the records of `store`.
    #[must_use]
    pub fn new(store: &Store) -> Self {
        Self {
            store: store.clone(),
            parts: StackParts::new(store),
        }
    }

    fn path(&self, key: ActionKey) -> PathBuf {
        let hex = key.0.hex();
        self.store.path(format!("actions/{}/{hex}", &hex[..2]))
    }
}

/// A record as it lies in the state directory.
#[derive(Clone, Debug)]
pub struct StoredRecord<N> {
    /// Its names, at least one.
    pub keys: Vec<ActionKey>,
    /// What it says; none if it is damaged.
    pub summary: Option<RecordSummary<N>>,
    /// When it was written or found last, to within an hour.
    pub last_used: Timestamp,
    /// What it takes on disk.
    pub usage: DiskUsage,
    inode: u64,
}

/// What is kept of a record where there are many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordSummary<N> {
    /// The file system after the step.
    pub state: LayerStack,
    /// How long the step took when it ran.
    pub took: Duration,
    /// What was made of its receipt, which takes much more room than all the rest.
    pub note: N,
}

impl Actions {
    /// Returns every record, by key, with what `note` makes of its receipt, and the blobs that hold
    /// parts of their stacks. Does not count as use.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn list<N: Send>(
        &self,
        note: impl Fn(&Receipt) -> N + Sync,
    ) -> io::Result<(Vec<StoredRecord<N>>, PartsByStack)> {
        let parts = StackParts::new(&self.store);
        // A record under several keys is one file, and is read once.
        let seen: Mutex<HashMap<u64, Vec<ActionKey>>> = Mutex::default();
        let look = |file: &SpreadFile<'_>| {
            // Removed meanwhile, or nothing of ours.
            let (Ok(hash), Ok(look)) = (file.name().parse(), file.look()) else {
                return Ok(None);
            };
            let key = ActionKey(hash);
            let is_seen = {
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                let keys = seen.entry(look.inode).or_default();
                keys.push(key);
                keys.len() > 1
            };
            let bytes = if is_seen { None } else { file.read().ok() };
            Ok(bytes.map(|bytes| StoredRecord {
                keys: vec![key],
                summary: RecordFile::read(&bytes, &parts, PartUse::LookedAt).map(|record| {
                    RecordSummary {
                        note: note(&record.receipt),
                        state: record.state,
                        took: record.took,
                    }
                }),
                last_used: look.changed,
                usage: look.usage,
                inode: look.inode,
            }))
        };
        let mut records = self.store.look_at_spread("actions", look)?;
        let mut seen = seen.into_inner().unwrap_or_else(PoisonError::into_inner);
        for record in &mut records {
            record.keys = seen.remove(&record.inode).unwrap_or_default();
            record.keys.sort_unstable();
        }
        records.sort_unstable_by(|a, b| a.keys.cmp(&b.keys));
        Ok((records, parts.into_parts()))
    }

    /// Deletes a record; says whether it was there.
    ///
    /// # Errors
    /// When it cannot be deleted.
    pub fn remove(&self, key: ActionKey) -> io::Result<bool> {
        match fs::remove_file(self.path(key)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn read(path: &Path) -> Option<(Vec<u8>, fs::Metadata)> {
    let mut file = File::open(path).ok()?;
    let metadata = file.metadata().ok()?;
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).ok()?);
    file.read_to_end(&mut bytes).ok()?;
    Some((bytes, metadata))
}

impl CacheBackend for Actions {
    fn get_many(&self, keys: &[ActionKey]) -> Vec<Option<ActionRecord>> {
        let now = Timestamp::now();
        let get = |key: &ActionKey| {
            let path = self.path(*key);
            let (bytes, metadata) = read(&path)?;
            let record = RecordFile::read(&bytes, &self.parts, PartUse::Used)?;
            // With the top of a stack, all of it stays.
            if let Some(top) = record.state.top() {
                self.store.hold(Unsettled::Layer(top.layer));
            }
            let last_used = metadata.modified().map_or(now, Timestamp::from);
            if now.since(last_used) > USE_RESOLUTION {
                // Without the right to write, the record is used all the same.
                let _ = touch(&path);
            }
            Some(record)
        };
        keys.iter().map(get).collect()
    }

    fn put(&self, keys: &[ActionKey], record: &ActionRecord) -> Result<(), CacheError> {
        let Some(any) = keys.first() else {
            return Ok(());
        };
        let state = self.parts.write(&record.state);
        let file = RecordFile {
            state: state.map_err(|error| CacheError::of_part(&self.path(*any), error))?,
            took: record.took,
            receipt: record.receipt.clone(),
            evidence: record.evidence.clone(),
        };
        let bytes = serde_json::to_vec(&file).expect("a record is plain data");
        let mut first: Option<PathBuf> = None;
        for key in keys {
            let path = self.path(*key);
            let fail = |source| CacheError {
                path: path.clone(),
                source,
            };
            let temporary = self.store.work_file().map_err(fail)?;
            // Under its other keys it is the same file, where the file system has hard links.
            let is_linked = first
                .as_ref()
                .is_some_and(|first| fs::hard_link(first, &temporary).is_ok());
            if !is_linked {
                fs::write(&temporary, &bytes).map_err(fail)?;
            }
            match fs::rename(&temporary, &path) {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    let parent = path.parent().expect("records lie below the root");
                    fs::create_dir_all(parent).map_err(fail)?;
                    fs::rename(&temporary, &path).map_err(fail)?;
                }
                other => other.map_err(fail)?,
            }
            first.get_or_insert(path);
        }
        self.store.grow(DiskUsage::of_lengths([bytes.len() as u64]));
        Ok(())
    }
}

/// Sets the time of a file's last modification to now, and nothing else.
pub(crate) fn touch(path: &Path) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, utimensat};
    let time = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
    let times = Timestamps {
        last_access: time(UTIME_OMIT),
        last_modification: time(UTIME_NOW),
    };
    Ok(utimensat(CWD, path, &times, AtFlags::empty())?)
}

/// Durations as whole milliseconds.
pub mod milliseconds {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer};

    /// Writes a duration.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }

    /// Reads a duration.
    ///
    /// # Errors
    /// When it is no number.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BuiltLayer;
    use kiln_oci::Sha256;
    use kiln_tree::LayerId;

    #[test]
    fn records_read_back_under_every_key() {
        let directory = tempfile::tempdir().unwrap();
        let actions = Actions::new(&Store::open(directory.path()).unwrap());
        let keys = [b"1", b"2", b"3"].map(|bytes| ActionKey(Blake3::of(bytes)));
        let mut receipt = Receipt::default();
        receipt.add("command", "true");
        let record = ActionRecord {
            state: LayerStack::on(Some(Sha256::of(b"base"))).with(BuiltLayer {
                layer: LayerId(Blake3::of(b"layer")),
                created: Timestamp::from_seconds(5),
            }),
            took: Duration::from_millis(1234),
            receipt,
            evidence: keys[1..2].to_vec(),
        };
        actions.put(&keys[..2], &record).unwrap();
        let found = actions.get_many(&keys);
        assert_eq!(found, [Some(record.clone()), Some(record.clone()), None]);
        // Both are one file, and still are when it is written again.
        actions.put(&keys[..2], &record).unwrap();
        let (listed, _) = actions.list(Receipt::clone).unwrap();
        assert_eq!(listed.len(), 1);
        let mut both = keys[..2].to_vec();
        both.sort_unstable();
        assert_eq!(listed[0].keys, both);
        let summary = listed[0].summary.clone().unwrap();
        assert_eq!(
            (summary.state, summary.note),
            (record.state.clone(), record.receipt.clone())
        );
        actions.put(&keys[2..], &record).unwrap();
        assert_eq!(actions.list(|_| ()).unwrap().0.len(), 2);
    }

    /// What a step leaves does not grow with the steps before it.
    #[test]
    fn a_record_at_depth_100_is_no_larger_than_one_of_a_few_layers() {
        let directory = tempfile::tempdir().unwrap();
        let actions = Actions::new(&Store::open(directory.path()).unwrap());
        let mut record = ActionRecord {
            state: LayerStack::default(),
            took: Duration::ZERO,
            receipt: Receipt::default(),
            evidence: Vec::new(),
        };
        let mut lengths = Vec::new();
        for depth in 0..100_u64 {
            record.state = record.state.with(BuiltLayer {
                layer: LayerId(Blake3::of(&depth.to_le_bytes())),
                created: Timestamp::EPOCH,
            });
            let key = ActionKey(Blake3::of(&depth.to_be_bytes()));
            actions.put(&[key], &record).unwrap();
            lengths.push(fs::metadata(actions.path(key)).unwrap().len());
        }
        assert!(lengths[99] < lengths[10], "{lengths:?}");
        assert!(lengths.iter().all(|length| *length <= 5_000), "{lengths:?}");
        let deepest = ActionKey(Blake3::of(&99_u64.to_be_bytes()));
        let actions = Actions::new(&actions.store);
        assert_eq!(actions.get_many(&[deepest]), [Some(record)]);
    }

    #[test]
    fn a_record_that_cannot_be_removed_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let actions = Actions::new(&Store::open(directory.path()).unwrap());
        let key = ActionKey(Blake3::of(b"1"));
        assert!(!actions.remove(key).unwrap());
        fs::create_dir_all(actions.path(key)).unwrap();
        assert!(actions.remove(key).is_err());
    }

    #[test]
    fn finding_a_record_again_is_a_use_once_an_hour() {
        let directory = tempfile::tempdir().unwrap();
        let actions = Actions::new(&Store::open(directory.path()).unwrap());
        let key = ActionKey(Blake3::of(b"1"));
        let record = ActionRecord {
            state: LayerStack::default(),
            took: Duration::ZERO,
            receipt: Receipt::default(),
            evidence: Vec::new(),
        };
        actions.put(&[key], &record).unwrap();
        let last_used = || actions.list(|_| ()).unwrap().0[0].last_used;
        let set = |ago: Duration| {
            let file = File::options().write(true).open(actions.path(key)).unwrap();
            let written = file.metadata().unwrap().modified().unwrap();
            file.set_modified(written - ago).unwrap();
        };
        let now = Timestamp::now();
        set(Duration::from_secs(600));
        actions.get_many(&[key]);
        assert!(now.since(last_used()) >= Duration::from_secs(590));
        set(Duration::from_secs(7200));
        actions.list(|_| ()).unwrap();
        assert!(now.since(last_used()) >= Duration::from_secs(7200));
        actions.get_many(&[key]);
        assert!(now.since(last_used()) < Duration::from_secs(60));
        assert!(actions.remove(key).unwrap() && !actions.remove(key).unwrap());
        assert!(actions.list(|_| ()).unwrap().0.is_empty());
    }

    #[test]
    fn a_damaged_record_is_a_miss() {
        let directory = tempfile::tempdir().unwrap();
        let actions = Actions::new(&Store::open(directory.path()).unwrap());
        let key = ActionKey(Blake3::of(b"1"));
        let path = actions.path(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "{\"state\":").unwrap();
        assert_eq!(actions.get_many(&[key]), [None]);
    }
}
