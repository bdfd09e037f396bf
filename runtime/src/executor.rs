//! Runs one job.
//!
//! The route of a job ([`local`]): [`context`] holds what all jobs of a process share,
//! [`prepare`] makes the job's mounts, which are not attached anywhere, and everything else its
//! process needs, [`crate::sys`] clones and configures the process, [`supervise`] carries its output
//! and waits, and [`stubs`] removes the mount points that had to be created.

mod builtin; // what every sandbox has
mod closing; // ending all writing to a root
mod context; // what all jobs share
mod detached; // mounts for a child to put in place
mod devices; // /dev
mod facts; // what is needed after the start
mod failure; // why a process did not become the program
mod file_mounts; // single files, each a mount
mod groups; // control groups of one job
mod inside; // finding things in a root
mod limits; // limits of every process
mod local; // runs jobs on this machine
mod memory; // files that must not reach a disk
mod mounts; // what a job asks for
mod nodes; // devices a job asks for
mod output; // where a job's output goes
mod prepare; // everything that the process only has to put in place
mod report; // what a new process reports before it is the program
mod running; // a job that runs
mod sockets; // made for programs whose calls the filter cannot check
mod streams; // pipes or a terminal
mod stubs; // mount points that must not stay
mod supervise; // output, cancellation, the end
mod unstartable; // why a program was not started
mod waiting; // a process that waits to become the program

pub use local::{Executor, LocalExecutor};
pub use output::JobOutput;
pub use running::{ProcessEnd, Running};
pub use streams::Read;
pub use waiting::WaitingProcess;
