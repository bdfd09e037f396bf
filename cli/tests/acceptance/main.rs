//! The whole tool on real input: real bases, a real registry, real peers.
//!
//! One binary, because every test needs the base images that kiln makes of `testdata/bases`, and
//! they are made once.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod harness; // a kiln with a state directory of its own

mod cancel; // interrupted
mod crash;
mod elsewhere; // repositories, downloads, agents // killed at any instant

mod few_ids; // where few owners can be stored
mod few_processes; // where hardly anything can be started
mod interop; // images travel to other tools and back
mod mounts; // RUN --mount
mod named_contexts; // --build-context, SOURCE_DATE_EPOCH, syntax
mod platforms; // several in one build
mod rootless; // without root
mod seed; // the Dockerfile that everybody writes first
mod survival; // what is special about files
mod together; // several kilns on one state directory
