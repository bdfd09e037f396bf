//! Stories of the whole program, which drive the real binary: one module for each kind.
//!
//! One test binary, because linking kiln's crates takes longer than most of its tests.
//! `conformance.rs` is another, because its tests are the cases of `testdata/conformance` and
//! therefore listed by a harness of their own.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::path::Path;

mod acceptance; // real bases, a real registry, real peers
mod bad_dockerfiles; // all that a person sees of a mistake
mod commands; // what is printed, where, and what is returned
mod faults; // power lost, disks full, system calls that fail
mod truth; // a cached result is never wrong

/// The program under test.
fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_kiln"))
}
