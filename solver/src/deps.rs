//! What solving needs of the world: stores, seams and the wishes of the user.

use kiln_cache::{ActionKey, ActionRecord, CacheBackend, Store};
use kiln_runtime::Executor;
use kiln_snapshotter::{LayerStore, Snapshotter};
use kiln_threads::Stop;

use crate::agent::Agents;
use crate::ahead::Ahead;
use crate::cache_mounts::CacheMounts;
use crate::context::ScannedContext;
use crate::journal::{Definition, Journal};
use crate::layers::Layers;
use crate::progress::Reporter;
use crate::remote::Remotes;
use crate::reuse::Reuse;
use crate::sandbox_context::SandboxContext;

/// What solving needs.
#[derive(Debug)]
pub struct Deps<'a> {
    /// The state directory.
    pub store: &'a Store,
    /// The layers in it.
    pub layers: &'a LayerStore,
    /// Makes roots for commands.
    pub snapshotter: &'a (dyn Snapshotter + 'a),
    /// Earlier results.
    pub cache: &'a (dyn CacheBackend + 'a),
    /// Brings the layers of base images to the disk.
    pub bases: &'a (dyn Layers + 'a),
    /// Brings downloads and repositories.
    pub remotes: &'a (dyn Remotes + 'a),
    /// The files that the graph reads, by context.
    pub contexts: &'a [ScannedContext],
    /// Brings what other machines left in cache mounts.
    pub cache_mounts: &'a (dyn CacheMounts + 'a),
    /// Answers for ssh agents.
    pub agents: &'a (dyn Agents + 'a),
    /// Runs commands.
    pub executor: &'a (dyn Executor + 'a),
    /// What every `RUN` gets besides what its step says.
    pub sandbox: &'a SandboxContext,
    /// Takes events.
    pub reporter: &'a Reporter<'a>,
    /// Stops everything.
    pub stop: &'a Stop,
    /// Steps at the same time.
    pub jobs: usize,
    /// Which earlier results count.
    pub reuse: Reuse,
    /// What earlier builds did.
    pub journal: &'a Journal,
    /// What is built, as the journal calls it.
    pub definition: &'a Definition,
    /// What happens to finished layers while later steps run.
    pub ahead: Ahead<'a>,
}

impl Deps<'_> {
    /// Says whether whatever fails now fails because everything is to stop.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.stop.is_asked() || self.store.stop().is_asked()
    }

    /// Returns the first record whose layers are all here or can be brought.
    pub(crate) fn look_up(&self, keys: &[ActionKey]) -> Option<ActionRecord> {
        let whole = |record: &ActionRecord| {
            record
                .state
                .layers
                .iter()
                .all(|built| self.layers.knows(built.layer))
        };
        self.cache.get_many(keys).into_iter().flatten().find(whole)
    }
}
