//! What is measured, a file each.
//!
//! A new scenario is a type that implements [`Scenario`] and an entry in the catalogue.

mod catalogue; // all of them by name, with their sizes and targets

mod apt_install; // packages of Debian
mod concurrent; // several builds at once
mod copy_big; // COPY of one big file
mod copy_many; // COPY of many small files
mod export; // a built image to an OCI archive
mod install; // what package managers have in common
mod instructions; // a very long Dockerfile, built again
mod node_app; // a Dockerfile as people write it, built again
mod npm_install; // packages of Node.js
mod run_container; // a container that does nothing
mod run_steps; // many RUN instructions
mod stages; // stages that do not need each other
mod version; // the start of the program

use std::path::Path;

use crate::action::Action;
use crate::area::Area;
use crate::builders::Builder;
use crate::error::Error;
use crate::image::{Examiner, Image};

pub(crate) use self::catalogue::{Entry, ScenarioChoice, chosen, names};

/// Something every builder is asked to do, over and over.
///
/// Round 0 is done by everybody and not measured: it fills caches, and is where a scenario of
/// rebuilding has its first build.
pub(crate) trait Scenario {
    /// Returns one line about what is done.
    fn title(&self) -> String;

    /// Sets the scene of a round. Where turns are warm, this is done again before each of them,
    /// with the same number.
    fn begin_round(&mut self, round: u32) -> Result<(), Error>;

    /// Returns what a builder has to do in every round before its turn, unmeasured.
    fn before(&self, _builder: &dyn Builder, _tag: &str) -> Option<Action> {
        None
    }

    /// Returns the files that everybody reads in its turn and that are new in each round. They are
    /// read once before each turn: otherwise it is dear for who comes first, and cheap for who comes
    /// right after another builder.
    fn new_files(&self) -> Option<&Path> {
        None
    }

    /// Says whether everybody does it a few times unmeasured right before each turn, each time
    /// after [`begin_round`](Self::begin_round) with a number of its own: for what takes
    /// milliseconds. What is asked is how long it takes a builder that is at work, not how long the
    /// machine needs to bring back what it has put away meanwhile.
    fn is_warm(&self) -> bool {
        false
    }

    /// Returns what a builder is to do for an image of a given name; nothing if it takes no
    /// part, which is the same in every round.
    fn action(&self, builder: &dyn Builder, tag: &str) -> Option<Action>;

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

    /// Returns what else is worth knowing in the end, a line each.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
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
