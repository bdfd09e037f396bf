//! What the runner of this machine works with.

use kiln_cache::Store;
use kiln_runtime::Executor;
use kiln_snapshotter::{LayerStore, RecentViews, Snapshotter};
use kiln_threads::Stop;

use crate::agent::Agents;
use crate::cache_mounts::CacheMounts;
use crate::layers::Layers;
use crate::sandbox_context::SandboxContext;
use crate::step_trees::LayerLoader;

/// Runs processes in sandboxes of this machine.
///
/// It lives with the solver: what the mounts, the user and the caches of a step stand for in a root
/// is found with the solver's views and keys. The namespaces are `kiln-runtime`'s, the root is
/// `kiln-snapshotter`'s.
#[derive(Debug)]
pub struct LocalRunner<'a> {
    /// The state directory.
    pub store: &'a Store,
    /// The layers in it.
    pub layers: &'a LayerStore,
    /// Fetches and unpacks layers.
    pub bases: &'a (dyn Layers + 'a),
    /// Makes roots for processes.
    pub snapshotter: &'a (dyn Snapshotter + 'a),
    /// Runs one process in a sandbox.
    pub executor: &'a (dyn Executor + 'a),
    /// Fills new cache mounts with what other machines left in theirs.
    pub cache_mounts: &'a (dyn CacheMounts + 'a),
    /// Answers for ssh agents.
    pub agents: &'a (dyn Agents + 'a),
    /// Views of the layers of steps, for the steps behind them.
    pub views: &'a RecentViews,
    /// What every process gets besides what its step says.
    pub sandbox: &'a SandboxContext,
    /// Stops everything.
    pub stop: &'a Stop,
}

impl<'a> LocalRunner<'a> {
    /// Returns what fetches and unpacks the layers of states.
    pub(super) fn layer_loader(&self) -> LayerLoader<'a> {
        LayerLoader {
            store: self.store,
            layers: self.layers,
            bases: self.bases,
            views: self.views,
            stop: self.stop,
        }
    }
}
