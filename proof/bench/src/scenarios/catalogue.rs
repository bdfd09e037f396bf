use std::time::Duration;

use super::Scenario;
use super::apt_install;
use super::concurrent::Concurrent;
use super::copy_big::CopyBig;
use super::copy_many::CopyMany;
use super::export::ExportImage;
use super::instructions::Instructions;
use super::node_app::{Change, NodeApp};
use super::npm_install;
use super::run_container::RunContainer;
use super::run_steps::RunSteps;
use super::stages::Stages;
use super::version::Version;
use crate::area::Area;
use crate::base::{DEBIAN, NODE};
use crate::builders::Compression;
use crate::error::Error;
use crate::targets::{LimitTarget, Target};

/// A scenario by name.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    usual: Usual,
    /// How many rounds are measured unless the command line says otherwise.
    pub(crate) rounds: u16,
    /// The base image that it needs beside busybox.
    pub(crate) base: Option<&'static str>,
    /// How many files the context has, where that is the point.
    pub(crate) files: Option<u64>,
    pub(crate) target: Target,
    /// Writes the files that the scenario needs.
    pub(crate) prepare: fn(&Area) -> Result<Box<dyn Scenario + '_>, Error>,
}

/// How much is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScenarioChoice {
    Quick,
    Everything,
}

/// Whether a scenario runs without being named.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Usual {
    /// Even when there is little time.
    Always,
    Yes,
    No,
}

/// What takes milliseconds needs many rounds, what takes half a minute cannot have them.
const MANY: u16 = 9;
const SOME: u16 = 5;
const FEW: u16 = 3;

/// What most scenarios are: usual, with few rounds.
const USUAL: Entry = Entry {
    name: "",
    usual: Usual::Yes,
    rounds: FEW,
    base: None,
    files: None,
    target: Target::NONE,
    prepare: |_| Ok(Box::new(Version)),
};

/// All scenarios, those with small results first: stores grow from one to the next.
const ALL: [Entry; 19] = [
    Entry {
        name: "smoke",
        usual: Usual::No,
        prepare: |area| NodeApp::prepare(area, 20, Change::Nothing),
        ..USUAL
    },
    Entry {
        name: "version",
        usual: Usual::Always,
        rounds: MANY,
        target: Target {
            peer: Some(1.0),
            limit: None,
        },
        ..USUAL
    },
    Entry {
        name: "run-rm",
        usual: Usual::Always,
        rounds: MANY,
        target: Target::times(1.0 / 8.0, 2.0),
        prepare: |area| RunContainer::prepare(area),
        ..USUAL
    },
    Entry {
        name: "no-op",
        usual: Usual::Always,
        rounds: MANY,
        files: Some(2_000),
        target: Target::times(1.0 / 15.0, 3.0),
        prepare: |area| NodeApp::prepare(area, 2_000, Change::Nothing),
        ..USUAL
    },
    Entry {
        name: "one-file",
        usual: Usual::Always,
        rounds: MANY,
        files: Some(2_000),
        target: Target::times(1.0 / 15.0, 4.0),
        prepare: |area| NodeApp::prepare(area, 2_000, Change::OneFile),
        ..USUAL
    },
    Entry {
        name: "instructions-500",
        rounds: MANY,
        target: Target {
            peer: Some(1.0 / 20.0),
            limit: Some(LimitTarget::Above(Duration::from_millis(15))),
        },
        prepare: |area| Instructions::prepare(area, 500),
        ..USUAL
    },
    Entry {
        name: "run-20",
        usual: Usual::No,
        prepare: |area| RunSteps::prepare(area, 20),
        ..USUAL
    },
    Entry {
        name: "run-30",
        usual: Usual::Always,
        rounds: SOME,
        target: Target::times(1.0 / 12.0, 1.0),
        prepare: |area| RunSteps::prepare(area, 30),
        ..USUAL
    },
    Entry {
        name: "stages-8",
        rounds: SOME,
        target: Target {
            peer: Some(0.8),
            limit: Some(LimitTarget::Within(Duration::from_millis(1150))),
        },
        prepare: |area| Stages::prepare(area, 8),
        ..USUAL
    },
    Entry {
        name: "builds-8",
        target: Target::times(1.0, 1.2),
        prepare: |area| Concurrent::prepare(area, 8),
        ..USUAL
    },
    Entry {
        name: "no-op-20k",
        rounds: SOME,
        files: Some(20_000),
        target: Target::times(1.0 / 15.0, 2.0),
        prepare: |area| NodeApp::prepare(area, 20_000, Change::Nothing),
        ..USUAL
    },
    Entry {
        name: "one-file-20k",
        rounds: SOME,
        files: Some(20_000),
        target: Target::times(1.0 / 15.0, 4.0),
        prepare: |area| NodeApp::prepare(area, 20_000, Change::OneFile),
        ..USUAL
    },
    Entry {
        name: "npm-install",
        base: Some(NODE),
        target: Target::times(1.0, 1.05),
        prepare: |area| npm_install::prepare(area),
        ..USUAL
    },
    Entry {
        name: "apt-install",
        base: Some(DEBIAN),
        target: Target::times(1.0, 1.05),
        prepare: |area| apt_install::prepare(area),
        ..USUAL
    },
    Entry {
        name: "copy-10k",
        usual: Usual::No,
        files: Some(10_000),
        target: Target::times(1.0 / 3.0, 1.2),
        prepare: |area| CopyMany::prepare(area, 10_000),
        ..USUAL
    },
    Entry {
        name: "copy-50k",
        files: Some(50_000),
        target: Target::times(1.0 / 3.0, 1.2),
        prepare: |area| CopyMany::prepare(area, 50_000),
        ..USUAL
    },
    Entry {
        name: "export-gzip",
        base: Some(DEBIAN),
        target: Target::times(0.5, 0.7),
        prepare: |area| ExportImage::prepare(area, 500_000_000, Compression::Gzip),
        ..USUAL
    },
    Entry {
        name: "export-zstd",
        base: Some(DEBIAN),
        target: Target::times(0.5, 1.2),
        prepare: |area| ExportImage::prepare(area, 500_000_000, Compression::Zstd),
        ..USUAL
    },
    Entry {
        name: "copy-1g",
        target: Target::times(1.0 / 3.0, 1.2),
        prepare: |area| CopyBig::prepare(area, 1 << 30),
        ..USUAL
    },
];

/// Returns the names of all scenarios.
pub(crate) fn names() -> Vec<&'static str> {
    ALL.iter().map(|entry| entry.name).collect()
}

/// Returns the scenarios with the given names in their usual order, or the usual ones if no
/// name is given.
pub(crate) fn chosen(only: &[String], extent: ScenarioChoice) -> Vec<Entry> {
    ALL.into_iter()
        .filter(|entry| {
            if !only.is_empty() {
                return only.iter().any(|name| name == entry.name);
            }
            match entry.usual {
                Usual::Always => true,
                Usual::Yes => extent == ScenarioChoice::Everything,
                Usual::No => false,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen_names(only: &[&str], extent: ScenarioChoice) -> Vec<&'static str> {
        let only: Vec<String> = only.iter().map(ToString::to_string).collect();
        let entries = chosen(&only, extent);
        entries.iter().map(|entry| entry.name).collect()
    }

    #[test]
    fn some_scenarios_run_only_when_named() {
        let everything = chosen_names(&[], ScenarioChoice::Everything);
        assert_eq!(everything.len(), 16);
        assert!(!everything.contains(&"smoke"));
        assert_eq!(
            chosen_names(&[], ScenarioChoice::Quick),
            ["version", "run-rm", "no-op", "one-file", "run-30"]
        );
        assert_eq!(
            chosen_names(&["copy-10k", "smoke"], ScenarioChoice::Everything),
            ["smoke", "copy-10k"]
        );
    }

    #[test]
    fn names_are_unique_and_usual_scenarios_have_targets() {
        let mut names = names();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
        for entry in chosen(&[], ScenarioChoice::Everything) {
            assert!(entry.target.peer.is_some(), "{}", entry.name);
        }
    }
}
