//! The whole tool on real input: real bases, a real registry, real peers.
//!
//! Tests start from the base images that kiln makes of `testdata/bases`, which are made once.

mod harness; // a kiln with a state directory of its own

mod cancel; // interrupted
mod crash; // killed at any instant
mod elsewhere; // repositories, downloads, agents
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
