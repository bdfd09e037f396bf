//! COPY, ADD and WORKDIR, executed: what the layers hold.
//!
//! Nothing is run and nothing is mounted, so these tests need no rights.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod bench;

mod again;
mod choosing;
mod model; // copies at random
mod writing;
