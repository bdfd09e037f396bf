//! What the last builds did, and why their steps had to run.
//!
//! The last build of each definition is one small JSON file in `builds/`, replaced by rename and
//! never synced: after a loss of power `kiln why` may lack an explanation, and nothing else is
//! lost. The name of the file has two halves, `<place>-<variant>`: the place is the context and the
//! Dockerfile, the variant what of it was built. So a first build of another target or platform
//! finds what to compare itself with by names alone.
//!
//! A step is written down with the key of its record, not with its receipt: that lies in the record
//! already, and a build that found everything done has nothing to add. Only what is new can make
//! the directory grow, so only then are the oldest files looked for and dropped.

use std::collections::HashSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use kiln_cache::{ActionKey, Store, milliseconds};
use kiln_oci::{Platform, Timestamp};
use kiln_tree::{Blake3, Encoder};

use crate::reason::Reason;

/// Definitions whose last builds are remembered.
const MOST_BUILDS: usize = 200;

/// What is built, as far as two builds must agree in it to be compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildDefinition {
    /// The context: a canonical path or an address; `-` for standard input.
    pub context: String,
    /// The Dockerfile: likewise.
    pub dockerfile: String,
    /// The stage asked for; the last one if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// What the images are to run on.
    pub platforms: Vec<Platform>,
}

/// A build, as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// What was built.
    pub definition: BuildDefinition,
    /// When it began.
    pub begun: Timestamp,
    /// How long it took.
    #[serde(rename = "took_ms", with = "milliseconds")]
    pub took: Duration,
    /// How it ended.
    pub end: BuildEnd,
    /// The Dockerfile of the build that it was compared with, if that was in another place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared_with: Option<String>,
    /// Its steps, each behind those it is made from.
    pub steps: Vec<BuiltStep>,
}

/// How a build ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BuildEnd {
    /// With a result.
    Succeeded,
    /// Without: what was wrong, on one line.
    Failed(String),
    /// The user asked to stop.
    Cancelled,
}

/// A step of a build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuiltStep {
    /// How progress calls it.
    pub name: String,
    /// The stage it belongs to first.
    pub stage: String,
    /// The line of its instruction, counted from 1.
    pub line: u32,
    /// Where its last result is recorded: this build's, else an earlier one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<ActionKey>,
    /// What became of it.
    pub fate: Fate,
    /// If it ran, or would have: why, the most telling reason first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<Reason>,
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// A later step's result made it unnecessary.
    NotNeeded,
    /// Its result was known before anything ran.
    Hit,
    /// Its result was known once its inputs were: they came out as they had before.
    Found,
    /// It ran.
    Ran {
        /// For how long.
        #[serde(rename = "took_ms", with = "milliseconds")]
        took: Duration,
    },
    /// It failed.
    Failed,
    /// Something else ended the build first.
    NotReached,
}

/// The builds of a state directory.
#[derive(Clone, Debug)]
pub struct Journal {
    store: Store,
}

impl BuildDefinition {
    /// Returns the first half of the file's name: the same for everything built from one place.
    fn place(&self) -> String {
        half(
            Encoder::new("kiln.place.1")
                .text(&self.context)
                .text(&self.dockerfile),
        )
    }

    fn file_name(&self) -> String {
        let mut variant = Encoder::new("kiln.variant.1");
        variant.optional(self.target.as_ref());
        let platforms: Vec<String> = self.platforms.iter().map(Platform::to_string).collect();
        format!("{}-{}", self.place(), half(variant.sequence(&platforms)))
    }
}

fn half(encoder: &Encoder) -> String {
    let digest: Blake3 = encoder.finish();
    digest.hex()[..16].to_owned()
}

impl Journal {
    /// Returns the journal of `store`.
    #[must_use]
    pub fn new(store: &Store) -> Self {
        Self {
            store: store.clone(),
        }
    }

    fn directory(&self) -> PathBuf {
        self.store.path("builds")
    }

    /// Writes a build down, in the place of the last one of the same definition.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, build: &Build) -> io::Result<()> {
        let bytes = serde_json::to_vec(build).expect("a build is plain data");
        let directory = self.directory();
        let path = directory.join(build.definition.file_name());
        let is_new = !path.exists();
        if is_new {
            fs::create_dir_all(&directory)?;
        }
        // Not in `work/`: making and deleting a place there costs more than all the rest. What a
        // crash leaves behind is dropped with the oldest files.
        let temporary = directory.join(format!(".{}", std::process::id()));
        fs::write(&temporary, bytes)?;
        fs::rename(&temporary, &path)?;
        if is_new {
            self.drop_oldest()?;
        }
        Ok(())
    }

    /// Returns the last build of a definition; without one, the newest of another target or, after
    /// that, of other platforms from the same place.
    #[must_use]
    pub fn previous(&self, definition: &BuildDefinition) -> Option<Build> {
        if let Some(build) = self.read(&definition.file_name()) {
            return Some(build);
        }
        let place = definition.place();
        let names = self.names_by_age().into_iter();
        let others = names.filter(|name| name.starts_with(&place));
        let mut others: Vec<Build> = others.filter_map(|name| self.read(&name)).collect();
        let same = |build: &Build| build.definition.platforms == definition.platforms;
        let best = others
            .iter()
            .rposition(same)
            .or(others.len().checked_sub(1))?;
        Some(others.swap_remove(best))
    }

    /// Returns the newest build that has at least half of its steps in common with one that has
    /// these steps: for the most part the same Dockerfile in another place.
    #[must_use]
    pub fn alike(&self, steps: &[&str]) -> Option<Build> {
        let wanted: HashSet<&str> = steps.iter().copied().collect();
        let is_alike = |build: &Build| {
            let names: HashSet<&str> = build.steps.iter().map(|step| &*step.name).collect();
            let common = names.intersection(&wanted).count();
            common > 0 && 2 * common >= names.len().max(wanted.len())
        };
        let names = self.names_by_age().into_iter().rev();
        names.filter_map(|name| self.read(&name)).find(is_alike)
    }

    /// Returns the last build of all, or of those that `is_wanted`.
    #[must_use]
    pub fn last(&self, is_wanted: impl Fn(&BuildDefinition) -> bool) -> Option<Build> {
        let names = self.names_by_age().into_iter().rev();
        names
            .filter_map(|name| self.read(&name))
            .find(|build| is_wanted(&build.definition))
    }

    /// Returns the last build of every definition, the oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<Build> {
        let names = self.names_by_age().into_iter();
        names.filter_map(|name| self.read(&name)).collect()
    }

    fn read(&self, name: &str) -> Option<Build> {
        // Without a damaged file `kiln why` explains less; nothing else is lost.
        serde_json::from_slice(&fs::read(self.directory().join(name)).ok()?).ok()
    }

    /// Returns the names of all files, the oldest first.
    fn names_by_age(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.directory()) else {
            return Vec::new();
        };
        let mut aged: Vec<(SystemTime, String)> = entries
            .flatten()
            .filter_map(|entry| {
                let modified = entry.metadata().ok()?.modified().ok()?;
                Some((modified, entry.file_name().into_string().ok()?))
            })
            .collect();
        aged.sort();
        aged.into_iter().map(|(_, name)| name).collect()
    }

    fn drop_oldest(&self) -> io::Result<()> {
        let names = self.names_by_age();
        let excess = names.len().saturating_sub(MOST_BUILDS);
        for name in &names[..excess] {
            match fs::remove_file(self.directory().join(name)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(context: &str, target: Option<&str>, platform: &str) -> BuildDefinition {
        BuildDefinition {
            context: context.to_owned(),
            dockerfile: format!("{context}/Dockerfile"),
            target: target.map(str::to_owned),
            platforms: vec![platform.parse().unwrap()],
        }
    }

    fn build(definition: BuildDefinition, second: i64) -> Build {
        Build {
            definition,
            begun: Timestamp::from_seconds(second),
            took: Duration::from_millis(1500),
            compared_with: None,
            end: BuildEnd::Succeeded,
            steps: vec![BuiltStep {
                name: "[1/1] RUN make".to_owned(),
                stage: "0".to_owned(),
                line: 3,
                key: Some(ActionKey(Blake3::of(b"key"))),
                fate: Fate::Ran {
                    took: Duration::from_millis(1200),
                },
                because: vec![Reason::Ingredient {
                    name: "command".to_owned(),
                    before: Some("make".to_owned()),
                    now: Some("make all".to_owned()),
                }],
            }],
        }
    }

    /// A journal in a directory of its own; each write is given an age of its own, since the clock
    /// of the file system may be coarse.
    struct JournalFixture {
        _directory: tempfile::TempDir,
        journal: Journal,
    }

    impl JournalFixture {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let journal = Journal::new(&Store::open(directory.path()).unwrap());
            Self {
                _directory: directory,
                journal,
            }
        }

        fn write(&self, build: &Build) {
            self.journal.write(build).unwrap();
            let path = self.journal.directory().join(build.definition.file_name());
            let file = fs::File::options().append(true).open(path).unwrap();
            let seconds = u64::try_from(build.begun.seconds).unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            file.set_modified(time).unwrap();
        }
    }

    #[test]
    fn a_build_replaces_the_last_one_of_its_definition() {
        let fixture = JournalFixture::new();
        let wanted = definition("/app", None, "linux/amd64");
        assert_eq!(fixture.journal.previous(&wanted), None);
        fixture.write(&build(wanted.clone(), 1));
        let second = build(wanted.clone(), 2);
        fixture.write(&second);
        assert_eq!(fixture.journal.previous(&wanted), Some(second));
        assert_eq!(fixture.journal.names_by_age().len(), 1);
        let elsewhere = definition("/other", None, "linux/amd64");
        assert_eq!(fixture.journal.previous(&elsewhere), None);
    }

    #[test]
    fn a_first_build_is_compared_with_its_nearest_relative() {
        let fixture = JournalFixture::new();
        let arm = build(definition("/app", None, "linux/arm64"), 3);
        fixture.write(&arm);
        let wanted = definition("/app", None, "linux/amd64");
        assert_eq!(fixture.journal.previous(&wanted), Some(arm));
        let test = build(definition("/app", Some("test"), "linux/amd64"), 1);
        fixture.write(&test);
        assert_eq!(fixture.journal.previous(&wanted), Some(test));
    }

    #[test]
    fn build_is_alike_if_it_shares_half_of_its_steps() {
        let fixture = JournalFixture::new();
        let steps = |names: &[&str]| {
            let mut build = build(definition("/app", None, "linux/amd64"), 1);
            let step = build.steps.remove(0);
            let named = |name: &&str| BuiltStep {
                name: (*name).to_owned(),
                ..step.clone()
            };
            build.steps = names.iter().map(named).collect();
            build
        };
        assert_eq!(fixture.journal.alike(&["a"]), None);
        let known = steps(&["a", "b", "c", "d"]);
        fixture.write(&known);
        let is_alike = |names: &[&str]| fixture.journal.alike(names).is_some();
        assert!(is_alike(&["a", "b", "c", "d"]) && is_alike(&["a", "b"]));
        assert!(is_alike(&["a", "b", "x", "y"]));
        assert!(!is_alike(&["a"]) && !is_alike(&["a", "x", "y", "z"]));
        assert!(!is_alike(&["a", "b", "v", "w", "x"]) && !is_alike(&["x"]) && !is_alike(&[]));
    }

    #[test]
    fn the_last_build_can_be_asked_for_by_what_it_built() {
        let fixture = JournalFixture::new();
        let app = build(definition("/app", None, "linux/amd64"), 1);
        let other = build(definition("/other", None, "linux/amd64"), 2);
        fixture.write(&other);
        fixture.write(&app);
        let last = fixture.journal.last(|_| true);
        assert_eq!(last.as_ref(), Some(&other));
        let last = fixture.journal.last(|known| known.context == "/app");
        assert_eq!(last.as_ref(), Some(&app));
        assert_eq!(fixture.journal.last(|_| false), None);
    }

    #[test]
    fn the_oldest_are_dropped_when_there_are_too_many() {
        let fixture = JournalFixture::new();
        for number in 0..=MOST_BUILDS {
            let second = i64::try_from(number).unwrap() + 1;
            let context = format!("/{number}");
            fixture.write(&build(definition(&context, None, "linux/amd64"), second));
        }
        assert_eq!(fixture.journal.names_by_age().len(), MOST_BUILDS);
        let first = definition("/0", None, "linux/amd64");
        assert_eq!(fixture.journal.previous(&first), None);
    }

    #[test]
    fn a_damaged_file_is_no_build() {
        let fixture = JournalFixture::new();
        let wanted = build(definition("/app", None, "linux/amd64"), 1);
        fixture.write(&wanted);
        let path = fixture
            .journal
            .directory()
            .join(wanted.definition.file_name());
        fs::write(path, "{").unwrap();
        assert_eq!(fixture.journal.previous(&wanted.definition), None);
        assert_eq!(fixture.journal.last(|_| true), None);
    }
}
