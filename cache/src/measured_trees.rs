//! What directories took when they were measured last: cache mounts, which change
//! only while a step uses them.
//!
//! ```text
//! measured   a line for each: bytes, inodes, seconds and nanoseconds of the last use, name
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use kiln_oci::Timestamp;

use crate::{DiskUsage, Store};

/// Notes of what directories of a state directory take. Those that are not asked for are forgotten
/// when they are saved.
#[derive(Debug)]
pub struct MeasuredTrees {
    store: Store,
    /// What was read.
    before: BTreeMap<String, (Timestamp, DiskUsage)>,
    /// What was asked for.
    after: BTreeMap<String, (Timestamp, DiskUsage)>,
}

impl MeasuredTrees {
    /// Reads the notes; what is damaged was not measured.
    #[must_use]
    pub fn read(store: &Store) -> Self {
        let text = fs::read_to_string(store.path("measured")).unwrap_or_default();
        Self {
            store: store.clone(),
            before: text.lines().filter_map(parse).collect(),
            after: BTreeMap::new(),
        }
    }

    /// Returns what a directory takes that was used last at a time, measuring it if it was used
    /// since it was measured.
    ///
    /// # Errors
    /// When it has to be measured and cannot be read.
    pub fn usage(&mut self, path: &Path, last_used: Option<Timestamp>) -> io::Result<DiskUsage> {
        let name = path.strip_prefix(self.store.root()).unwrap_or(path);
        let (Some(name), Some(last_used)) = (name.to_str(), last_used) else {
            return DiskUsage::of_tree(path);
        };
        let usage = match self.before.get(name) {
            Some((then, usage)) if *then == last_used => *usage,
            _ => DiskUsage::of_tree(path)?,
        };
        self.after.insert(name.to_owned(), (last_used, usage));
        Ok(usage)
    }

    /// Writes the notes if they changed.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn save(self) -> io::Result<()> {
        if self.before == self.after {
            return Ok(());
        }
        let mut text = String::new();
        for (name, (used, usage)) in &self.after {
            let DiskUsage { bytes, inodes } = usage;
            let Timestamp {
                seconds,
                nanoseconds,
            } = used;
            let _ = writeln!(text, "{bytes} {inodes} {seconds} {nanoseconds} {name}");
        }
        let temporary = self.store.work_file()?;
        fs::write(&temporary, text)?;
        fs::rename(temporary, self.store.path("measured"))
    }
}

fn parse(line: &str) -> Option<(String, (Timestamp, DiskUsage))> {
    let mut parts = line.splitn(5, ' ');
    let usage = DiskUsage {
        bytes: parts.next()?.parse().ok()?,
        inodes: parts.next()?.parse().ok()?,
    };
    let used = Timestamp {
        seconds: parts.next()?.parse().ok()?,
        nanoseconds: parts.next()?.parse().ok()?,
    };
    Some((parts.next()?.to_owned(), (used, usage)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_measured_again_after_its_next_use_alone() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let path = store.path("git/ab");
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("one"), "1").unwrap();
        let ask = |seconds: i64| {
            let mut measured = MeasuredTrees::read(&store);
            let used = Timestamp::from_seconds(seconds);
            let usage = measured.usage(&path, Some(used)).unwrap();
            measured.save().unwrap();
            usage.inodes
        };
        assert_eq!(ask(1), 2);
        fs::write(path.join("two"), "2").unwrap();
        assert_eq!(ask(1), 2);
        assert_eq!(ask(2), 3);
        fs::write(store.path("measured"), "3 x").unwrap();
        assert_eq!(ask(2), 3);
        let mut measured = MeasuredTrees::read(&store);
        assert_eq!(measured.usage(&path, None).unwrap().inodes, 3);
        measured.save().unwrap();
        assert_eq!(fs::read_to_string(store.path("measured")).unwrap(), "");
    }
}
