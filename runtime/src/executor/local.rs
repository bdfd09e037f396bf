//! Running jobs on this machine.

use std::fmt;
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;

use kiln_threads::Stop;

use super::context::ExecutorContext;
use super::output::JobOutput;
use super::prepare::{self, ProgramStart};
use super::running::Running;
use super::supervise;
use super::waiting::WaitingProcess;
use crate::{ExecError, Job, JobOutcome};

/// Runs jobs, one sandbox each. That steps may run elsewhere is decided above it.
pub trait Executor: fmt::Debug + Send + Sync {
    /// Runs a job to its end, giving its output away as it comes.
    ///
    /// # Errors
    /// The job could not be run. A program that fails, or does not exist, is a [`JobOutcome`].
    fn run(
        &self,
        job: &Job,
        output: &mut dyn JobOutput,
        stop: &Stop,
    ) -> Result<JobOutcome, ExecError>;
}

/// Runs jobs on this machine. Any number of threads may share it.
#[derive(Debug)]
pub struct LocalExecutor {
    context: ExecutorContext,
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
            context: ExecutorContext::new(scratch)?,
        })
    }

    /// Starts a job and leaves its streams and its end to the caller.
    ///
    /// # Errors
    /// The job cannot be run.
    pub fn start(&self, job: &Job) -> Result<Running, ExecError> {
        prepare::start(&self.context, job, ProgramStart::AtOnce)
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
        plug: impl FnOnce(&WaitingProcess<'_>) -> io::Result<()>,
    ) -> Result<Running, ExecError> {
        let running = prepare::start(&self.context, job, ProgramStart::WhenReleased)?;
        let waiting = WaitingProcess::new(running.end(), self.context.proc.as_fd());
        match plug(&waiting).and_then(|()| running.release()) {
            Ok(()) => Ok(running),
            Err(source) => {
                running.abort();
                Err(ExecError::Setup {
                    what: "plugging in the network".to_owned(),
                    source,
                })
            }
        }
    }
}

impl Executor for LocalExecutor {
    fn run(
        &self,
        job: &Job,
        output: &mut dyn JobOutput,
        stop: &Stop,
    ) -> Result<JobOutcome, ExecError> {
        let outcome = supervise::supervise(self.start(job)?, output, stop);
        if let Ok(outcome) = &outcome {
            tracing::debug!(end = ?outcome.end, "a sandbox ended");
        }
        outcome
    }
}
