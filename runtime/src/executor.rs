//! Runs one job.
//!
//! The route of a job: [`surroundings`] holds what all jobs of a process share, [`prepare`] makes
//! the job's mounts, which are not attached anywhere, and everything else its process needs,
//! [`crate::sys`] clones and configures the process, [`supervise`] carries its output and waits,
//! and [`stubs`] removes the mount points that had to be created.

mod born; // a process that is not the program yet
mod builtin; // what every sandbox has
mod closing; // roots that nobody writes to any more
mod detached; // mounts for a child to put in place
mod devices; // /dev
mod failure; // what a child's last words mean
mod groups; // control groups of one job
mod limits; // limits of every process
mod memory; // files that must not reach a disk
mod mounts; // what a job asks for
mod nodes; // devices a job asks for
mod plan; // what is needed after the start
mod prepare; // from a job to a program
mod report; // what a child says before it is the program
mod running; // a job that runs
mod sockets; // made for programs that ask in memory
mod streams; // pipes or a terminal
mod stubs; // mount points that must not stay
mod supervise; // output, cancellation, the end
mod surroundings; // what all jobs share
mod unstartable; // why a program was not started

use std::fmt;
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;

use kiln_threads::Stop;

pub use born::Born;
pub use running::{Ended, Running};
pub use streams::Read;
pub(crate) use surroundings::Surroundings;

use self::prepare::Beginning;
use crate::{ExecError, Job, Outcome, Stream};

/// Runs jobs, here or elsewhere.
pub trait Executor: fmt::Debug + Send + Sync {
    /// Runs a job to its end, giving its output away as it comes.
    ///
    /// # Errors
    /// The job could not be run. A program that fails, or does not exist, is an [`Outcome`].
    fn run(&self, job: &Job, output: &mut dyn Output, stop: &Stop) -> Result<Outcome, ExecError>;
}

/// Takes the output of a process.
pub trait Output {
    /// Takes some bytes; they may end inside a line or a character.
    fn chunk(&mut self, stream: Stream, bytes: &[u8]);
}

impl<F: FnMut(Stream, &[u8])> Output for F {
    fn chunk(&mut self, stream: Stream, bytes: &[u8]) {
        self(stream, bytes);
    }
}

/// Runs jobs on this machine. Any number of threads may share it.
#[derive(Debug)]
pub struct LocalExecutor {
    surroundings: Surroundings,
}

impl LocalExecutor {
    /// Prepares what all jobs share.
    ///
    /// `scratch` is a directory that is created if missing; executors of several processes may
    /// share it. A file system in memory is mounted below it, which only this process sees and
    /// which vanishes with it. Call after [`crate::userns::enter`].
    ///
    /// # Errors
    /// This process may not mount anything.
    pub fn new(scratch: &Path) -> Result<Self, ExecError> {
        Ok(Self {
            surroundings: Surroundings::new(scratch)?,
        })
    }

    /// Starts a job and leaves its streams and its end to the caller.
    ///
    /// # Errors
    /// The job cannot be run.
    pub fn start(&self, job: &Job) -> Result<Running, ExecError> {
        prepare::start(&self.surroundings, job, Beginning::AtOnce)
    }

    /// Starts a job whose process waits, with all its namespaces made, until `plug` has put
    /// something into them: a network. Nothing of the image runs before that, and nothing at all
    /// if it fails.
    ///
    /// # Errors
    /// The job cannot be run, or what `plug` says.
    pub fn start_plugged(
        &self,
        job: &Job,
        plug: impl FnOnce(&Born<'_>) -> io::Result<()>,
    ) -> Result<Running, ExecError> {
        let running = prepare::start(&self.surroundings, job, Beginning::WhenLetGo)?;
        let born = Born::new(running.end(), self.surroundings.proc.as_fd());
        match plug(&born).and_then(|()| running.let_go()) {
            Ok(()) => Ok(running),
            Err(source) => {
                running.give_up();
                Err(ExecError::Setup {
                    what: "plugging in the network".to_owned(),
                    source,
                })
            }
        }
    }
}

impl Executor for LocalExecutor {
    fn run(&self, job: &Job, output: &mut dyn Output, stop: &Stop) -> Result<Outcome, ExecError> {
        let outcome = supervise::supervise(self.start(job)?, output, stop);
        if let Ok(outcome) = &outcome {
            tracing::debug!(end = ?outcome.end, "a sandbox ended");
        }
        outcome
    }
}
