//! What is measured, a file each.
//!
//! A new scenario is a type that implements [`Scenario`] and a line in [`ALL`].

mod concurrent; // several builds at once
mod copy_big; // COPY of one big file
mod copy_many; // COPY of many small files
mod instructions; // a very long Dockerfile, built again
mod node_app; // a Dockerfile as people write it, built again
mod run_steps; // many RUN instructions
mod stages; // stages that do not need each other
mod version; // the start of the program

use crate::action::Action;
use crate::area::Area;
use crate::builders::Builder;
use crate::error::Error;
use crate::image::{Examiner, Image};

use self::concurrent::Concurrent;
use self::copy_big::CopyBig;
use self::copy_many::CopyMany;
use self::instructions::Instructions;
use self::node_app::{Change, NodeApp};
use self::run_steps::RunSteps;
use self::stages::Stages;
use self::version::Version;

/// Something every builder is asked to do, over and over.
///
/// Round 0 is done by everybody and not measured: it fills caches, and is where a scenario of
/// rebuilding has its first build.
pub(crate) trait Scenario {
    /// Returns one line about what is done.
    fn title(&self) -> String;

    /// Sets the scene of a round, before anybody's turn.
    fn begin_round(&mut self, round: u16) -> Result<(), Error>;

    /// Returns what a builder is to do for an image of a given name.
    fn action(&self, builder: &dyn Builder, tag: &str) -> Action;

    /// Returns the same work by raw means, the closest to the limit first; as many in every
    /// round.
    fn limits(&self) -> Result<Vec<(&'static str, Action)>, Error>;

    /// Looks into what a builder has made in this round; asked after round 0 and after the
    /// last one.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    fn check(&mut self, outcome: &Outcome<'_>) -> Result<(), String>;
}

/// What a builder has made.
pub(crate) struct Outcome<'run> {
    pub(crate) builder: &'run dyn Builder,
    pub(crate) tag: &'run str,
    pub(crate) area: &'run Area,
    pub(crate) examiner: &'run Examiner,
}

impl Outcome<'_> {
    /// Returns the image that was to be made.
    pub(crate) fn image(&self) -> Result<Image, String> {
        self.image_named(self.tag)
    }

    /// Returns one of several images that were to be made.
    pub(crate) fn image_named(&self, tag: &str) -> Result<Image, String> {
        self.examiner.image(self.area, self.builder, tag)
    }
}

/// A scenario by name.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    usual: Usual,
    /// Writes the files that the scenario needs.
    pub(crate) prepare: fn(&Area) -> Result<Box<dyn Scenario + '_>, Error>,
}

/// Whether a scenario runs without being named.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Usual {
    Yes,
    No,
}

/// All scenarios, those with small results first: stores grow from one to the next.
const ALL: [Entry; 14] = [
    Entry {
        name: "smoke",
        usual: Usual::No,
        prepare: |area| NodeApp::prepare(area, 20, Change::Nothing),
    },
    Entry {
        name: "no-op",
        usual: Usual::Yes,
        prepare: |area| NodeApp::prepare(area, 2_000, Change::Nothing),
    },
    Entry {
        name: "one-file",
        usual: Usual::Yes,
        prepare: |area| NodeApp::prepare(area, 2_000, Change::OneFile),
    },
    Entry {
        name: "run-20",
        usual: Usual::Yes,
        prepare: |area| RunSteps::prepare(area, 20),
    },
    Entry {
        name: "copy-10k",
        usual: Usual::Yes,
        prepare: |area| CopyMany::prepare(area, 10_000),
    },
    Entry {
        name: "no-op-20k",
        usual: Usual::No,
        prepare: |area| NodeApp::prepare(area, 20_000, Change::Nothing),
    },
    Entry {
        name: "one-file-20k",
        usual: Usual::No,
        prepare: |area| NodeApp::prepare(area, 20_000, Change::OneFile),
    },
    Entry {
        name: "run-30",
        usual: Usual::No,
        prepare: |area| RunSteps::prepare(area, 30),
    },
    Entry {
        name: "copy-50k",
        usual: Usual::No,
        prepare: |area| CopyMany::prepare(area, 50_000),
    },
    Entry {
        name: "copy-1g",
        usual: Usual::No,
        prepare: |area| CopyBig::prepare(area, 1 << 30),
    },
    Entry {
        name: "stages-8",
        usual: Usual::No,
        prepare: |area| Stages::prepare(area, 8),
    },
    Entry {
        name: "builds-8",
        usual: Usual::No,
        prepare: |area| Concurrent::prepare(area, 8),
    },
    Entry {
        name: "instructions-500",
        usual: Usual::No,
        prepare: |area| Instructions::prepare(area, 500),
    },
    Entry {
        name: "version",
        usual: Usual::No,
        prepare: |_| Ok(Box::new(Version)),
    },
];

/// Returns the names of all scenarios.
pub(crate) fn names() -> Vec<&'static str> {
    ALL.iter().map(|entry| entry.name).collect()
}

/// Returns the scenarios with the given names in their usual order, or the usual ones if no
/// name is given.
pub(crate) fn chosen(only: &[String]) -> Vec<Entry> {
    ALL.into_iter()
        .filter(|entry| {
            if only.is_empty() {
                entry.usual == Usual::Yes
            } else {
                only.iter().any(|name| name == entry.name)
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_scenarios_run_only_when_named() {
        let names = |only: &[&str]| {
            let only: Vec<String> = only.iter().map(ToString::to_string).collect();
            chosen(&only)
                .iter()
                .map(|entry| entry.name)
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&[]), ["no-op", "one-file", "run-20", "copy-10k"]);
        assert_eq!(names(&["copy-10k", "smoke"]), ["smoke", "copy-10k"]);
    }
}
