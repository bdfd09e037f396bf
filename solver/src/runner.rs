//! The seam through which the processes of `RUN` steps are run: layers and processes in, layers out.
//!
//! What goes in is named, not mounted: a [`LayerStack`] says which layers there are, and the store of
//! layers tells what is known of them (digest, media type, places of their blobs), whether their
//! bytes are here or elsewhere. What comes out is named as well: a runner that makes layers
//! elsewhere describes them in that store. So steps can run where neither their root nor their
//! result is ever a path of this machine, several of them in order, and what they say may come when
//! all is over.
//!
//! The solver knows no other way to run a process. [`LocalRunner`](crate::LocalRunner) uses a
//! sandbox of this machine; tests run nothing at all.

use std::collections::HashMap;
use std::fmt;

use kiln_cache::LayerStack;
use kiln_runtime::Stream;
use kiln_tree::LayerId;

use crate::cache_mounts::BegunCaches;
use crate::graph::{RunOp, StepId};
use crate::step_error::StepError;

/// Runs processes on top of layers.
pub trait Runner: fmt::Debug + Sync {
    /// Runs the processes of a chain and returns the layer of what each of them changed, in their
    /// order. The layers are in the store when this returns, or described there.
    ///
    /// # Errors
    /// When a process cannot run or ends badly: those behind it do not run. What those before it
    /// made is kept.
    fn run(
        &self,
        chain: &Chain<'_>,
        events: &mut dyn RunEvents,
    ) -> Result<Vec<LayerId>, ChainError>;
}

/// Processes that run one after the other, each in the files that the one before left.
#[derive(Clone, Copy, Debug)]
pub struct Chain<'a> {
    /// The files that the first process starts from.
    pub base: &'a LayerStack,
    /// The processes; at least one.
    pub processes: &'a [ChainProcess<'a>],
    /// The files of other steps that they find mounted.
    pub sources: &'a HashMap<StepId, LayerStack>,
}

/// A process of a chain.
#[derive(Clone, Copy, Debug)]
pub struct ChainProcess<'a> {
    /// What it is, and what it finds.
    pub run: &'a RunOp,
    /// Set if its cache mounts are to begin anew: those that this build has emptied already.
    pub begun: Option<&'a BegunCaches>,
}

/// Is told what the processes of a chain do, while they do it or afterwards. Processes are counted
/// from zero.
pub trait RunEvents {
    /// A process has what it needs.
    fn begin(&mut self, process: usize);

    /// A process wrote something.
    fn output(&mut self, process: usize, stream: Stream, bytes: &[u8]);

    /// The runner noticed something that the user should know and that stops nothing.
    fn warn(&mut self, message: String);
}

/// Why not all processes of a chain ran to a good end.
#[derive(Debug)]
pub struct ChainError {
    /// The layers of those that did.
    pub made: Vec<LayerId>,
    /// What became of the next one.
    pub error: StepError,
}
