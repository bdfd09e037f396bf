//! What commands run in, prepared when the first command runs: a build that finds everything cached
//! mounts nothing and tries nothing.

use std::sync::{Mutex, OnceLock, PoisonError};

use kiln_cache::Store;
use kiln_runtime::{ExecError, Executor, Job, JobOutcome, LocalExecutor, OuterProc};
use kiln_snapshotter::overlay::{Support, probe};
use kiln_snapshotter::{BuildError, Layer, LayerStore, Overlay, Reflink, Snapshotter, Writable};
use kiln_threads::Stop;

/// Makes roots with overlayfs, or by copying where the kernel refuses it.
#[derive(Debug)]
pub(crate) struct LazySnapshotter<'a> {
    layers: &'a LayerStore,
    chosen: OnceLock<Box<dyn Snapshotter>>,
}

impl<'a> LazySnapshotter<'a> {
    pub(crate) fn new(layers: &'a LayerStore) -> Self {
        Self {
            layers,
            chosen: OnceLock::new(),
        }
    }
}

impl Snapshotter for LazySnapshotter<'_> {
    fn prepare(&self, layers: &[Layer]) -> Result<Writable, BuildError> {
        self.chosen
            .get_or_init(|| choose(self.layers))
            .prepare(layers)
    }
}

pub(crate) fn choose(layers: &LayerStore) -> Box<dyn Snapshotter> {
    let support = layers.store().work_dir().map(|work| probe(work.path()));
    match support {
        Ok(Support::Overlay) => Box::new(Overlay::new(layers)),
        Ok(Support::Refused(_)) | Err(_) => Box::new(Reflink::new(layers)),
    }
}

/// Runs commands in a sandbox on this machine.
#[derive(Debug)]
pub(crate) struct LazyExecutor<'a> {
    store: &'a Store,
    outer_proc: OuterProc,
    made: OnceLock<LocalExecutor>,
    /// Held by the thread that makes it.
    making: Mutex<()>,
}

impl<'a> LazyExecutor<'a> {
    pub(crate) fn new(store: &'a Store, outer_proc: OuterProc) -> Self {
        Self {
            store,
            outer_proc,
            made: OnceLock::new(),
            making: Mutex::new(()),
        }
    }

    fn executor(&self) -> Result<&LocalExecutor, ExecError> {
        if let Some(executor) = self.made.get() {
            return Ok(executor);
        }
        // First steps come side by side, and an executor is dear.
        let _turn = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(executor) = self.made.get() {
            return Ok(executor);
        }
        let made = LocalExecutor::new(&self.store.path("mounts"))?;
        Ok(self.made.get_or_init(|| made))
    }
}

impl Executor for LazyExecutor<'_> {
    fn run(
        &self,
        job: &Job,
        output: &mut dyn kiln_runtime::JobOutput,
        stop: &Stop,
    ) -> Result<JobOutcome, ExecError> {
        let executor = self.executor()?;
        match self.outer_proc {
            OuterProc::Refused => executor.run(job, output, stop),
            OuterProc::Shown => {
                let mut job = job.clone();
                job.outer_proc = OuterProc::Shown;
                executor.run(&job, output, stop)
            }
        }
    }
}
