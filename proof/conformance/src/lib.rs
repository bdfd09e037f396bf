//! Dockerfiles with the images they make (`testdata/conformance`), tried with kiln and with
//! other builders.
//!
//! A [`Case`] says what is built and what comes of it: lines about files, config and history, or
//! an error. A [`Builder`] builds it; [`judge`] compares. Other builders check the expectations,
//! so where one disagrees, the case lists how and why, or the expectation is in doubt.
//!
//! This crate knows none of kiln's crates: kiln is a program like the others.

mod error;

mod case; // what is built and expected
mod store; // cases on disk
mod workspace; // the copy of a context that one build reads

mod files; // layers on top of each other
mod image; // what a builder made, read from an archive
mod listing; // files as lines

mod builder; // what all builders have in common
mod builders; // kiln, buildah, BuildKit
mod fixtures; // the registry and the images that cases start from

mod judge; // expectation against outcome
mod report; // a table of verdicts
mod round; // all cases with one builder

mod random; // copies made up at random
mod versus; // kiln against others in such copies

pub use builder::{Builder, Outcome};
pub use builders::{BuildKit, Buildah, Peer};
pub use case::{Case, Disagreement, Step};
pub use error::Error;
pub use fixtures::Fixtures;
pub use image::Image;
pub use judge::{Verdict, judge};
pub use random::random_case;
pub use report::{Column, Report};
pub use round::{Trial, hold, hold_one};
pub use store::{load, save, testdata};
pub use versus::{Contest, Made, make};
pub use workspace::Workspace;
