//! Threads that a limit may refuse, and the request to stop that they check.
//!
//! A process may be refused further threads (a limit on processes, no memory). Work that the calling
//! thread can do alone goes on there; work that takes two threads fails with what to do about it.
//! This crate does not know what the threads work on.

mod stop; // a request to stop, shared by threads
mod threads; // threads started, or done without

pub use stop::{Stop, Stopped, Stopping};
pub use threads::{Task, cannot_start, prepare_pool, spawn_or_fail, spawn_or_run, spawn_or_skip};
