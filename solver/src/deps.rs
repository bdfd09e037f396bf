//! What solving needs of the world: stores, seams and the wishes of the user.

use kiln_cache::{ActionKey, ActionRecord, CacheBackend, Store};
use kiln_snapshotter::{LayerStore, RecentViews};
use kiln_threads::Stop;

use crate::context::ScannedContext;
use crate::journal::{BuildDefinition, Journal};
use crate::layers::Layers;
use crate::precompute::Precompute;
use crate::progress::Reporter;
use crate::remote_sources::Remotes;
use crate::reuse::Reuse;
use crate::runner::Runner;
use crate::step_trees::LayerLoader;

/// What solving needs.
#[derive(Debug)]
pub struct Deps<'a> {
    /// The state directory.
    pub store: &'a Store,
    /// The layers in it.
    pub layers: &'a LayerStore,
    /// Earlier results.
    pub cache: &'a (dyn CacheBackend + 'a),
    /// Fetches and unpacks layers of base images and described ones.
    pub bases: &'a (dyn Layers + 'a),
    /// Views of the layers of steps, for the steps behind them.
    pub views: &'a RecentViews,
    /// Finds and fetches downloads and repositories.
    pub remotes: &'a (dyn Remotes + 'a),
    /// The files that the graph reads, by context.
    pub contexts: &'a [ScannedContext],
    /// Runs the processes of `RUN` steps.
    pub runner: &'a (dyn Runner + 'a),
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
    pub definition: &'a BuildDefinition,
    /// What happens to finished layers while later steps run.
    pub precompute: Precompute<'a>,
}

impl<'a> Deps<'a> {
    /// Says whether the user asked to stop, which then is why steps fail.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.layer_loader().is_cancelled()
    }

    /// Returns what fetches and unpacks the layers of states.
    pub(crate) fn layer_loader(&self) -> LayerLoader<'a> {
        LayerLoader {
            store: self.store,
            layers: self.layers,
            bases: self.bases,
            views: self.views,
            stop: self.stop,
        }
    }

    /// Returns the first record whose layers are all here or can be fetched.
    pub(crate) fn look_up(&self, keys: &[ActionKey]) -> Option<ActionRecord> {
        let whole = |record: &ActionRecord| self.layers.knows_all(&record.state);
        self.cache.get_many(keys).into_iter().flatten().find(whole)
    }
}
