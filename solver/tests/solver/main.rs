//! Planning and solving, as a front end meets them.
//!
//! Nothing is run and nothing is mounted, so these tests need no rights.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod plan; // what Dockerfiles mean

mod findings; // what lint rules say that need values
mod hostile; // Dockerfiles that no person would write

mod memory; // a runner that runs nothing
mod options; // what builds are asked for
#[path = "../support/processes.rs"]
mod processes; // processes and events for runners
mod told; // what a build tells

mod corpus; // the cases of testdata/conformance, as far as nothing is run

mod cache_mounts; // which of them a plan uses
mod chains; // what becomes of several processes in order
mod copy; // what COPY, ADD and WORKDIR leave in layers
mod scheduling; // what becomes of graphs
