//! Threads where any can be had, and the wish to stop that they look at.
//!
//! A process may be refused further threads (a limit of processes, no memory). What can be done by
//! the thread that is there goes on with it; what cannot says so.

mod stop; // what many bytes are moved under
mod threads; // help, where any is to be had

pub use stop::{Stop, Stopped, Stopping};
pub use threads::{Task, begin, beside, cannot_start, help, prepare_pool};
