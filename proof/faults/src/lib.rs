//! Faults of the machine, let loose on kiln.
//!
//! A *scenario* is one kind of fault: the power goes, the disk is full, a system call fails, a
//! process is killed. It tries again and again with chance as its guide, for as long as it is given,
//! and after each fault compares what kiln says and makes with what it promised before. Everything
//! happens in directories, file systems and processes that were made for it.
//!
//! Chance starts from a seed: the same seed makes the same commands and waits the same times, though
//! what the machine is doing by then is never quite the same.
//!
//! This crate knows none of kiln's crates: it drives the binary it is given.

mod action; // what kiln is asked for
mod chance; // numbers at random
mod comparison; // the state after a fault, and what it should be
mod disk; // a file system of its own that loses its power
mod image; // what images hold, and whether they still do
mod machine; // a kiln that works and is disturbed
mod tracer; // system calls that are counted and fail
mod world; // kiln, the registry and servers it uses, and what it promised

mod report; // trials and failures
mod scenario; // one kind of fault
mod scenarios; // the kinds there are

pub use report::Tally;
pub use scenario::{Bounds, Scenario};
pub use scenarios::all;
