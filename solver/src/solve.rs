//! Executes what is missing.
//!
//! From the target back, each step is looked up by its recipe key. A hit ends the search there:
//! nothing below it is looked at, fetched or unpacked. What remains runs as its inputs become
//! known, on up to `jobs` threads; before a step runs, its evidence keys are tried, and a lock
//! makes sure that no other kiln runs the same step at the same time.
//!
//! The first failure stops everything else.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};

use crate::{Definition, Fate, Journal};
use kiln_cache::{ActionKey, ActionRecord, CacheBackend, State, Store};
use kiln_parser::Span;
use kiln_runtime::Executor;
use kiln_snapshotter::{LayerStore, Snapshotter};
use kiln_threads::Stop;
use kiln_tree::LayerId;

use crate::account::{StepAccount, accounts, unprepared};
use crate::agent::Agents;
use crate::ahead::{Ahead, Queue};
use crate::cache_mounts::CacheMounts;
use crate::context::ScannedContext;
use crate::execute::{Outcome, Way, execute};
use crate::facts::{Facts, facts};
use crate::graph::{Graph, Op, Step, StepId};
use crate::inputs::{Inputs, Proof};
use crate::keys::{StepKeys, keys};
use crate::layers::Layers;
use crate::progress::{Reporter, VertexEnd};
use crate::remote::Remotes;
use crate::run::RunSurroundings;
use crate::step_error::StepError;
use crate::why::Before;

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
    pub surroundings: &'a RunSurroundings,
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
}

/// Which earlier results may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// All.
    All,
    /// None (`--no-cache`).
    Nothing,
    /// All but those of these stages, named in lower case (`--no-cache-filter`).
    AllBut(Vec<String>),
}

impl Reuse {
    /// Says whether an earlier result of a step may be used.
    pub(crate) fn allows(&self, step: &Step) -> bool {
        match self {
            Self::All => true,
            Self::Nothing => false,
            Self::AllBut(_) => self.refused_stage(step).is_none(),
        }
    }

    /// Returns the stage of a step whose earlier results must not be used.
    pub(crate) fn refused_stage<'a>(&self, step: &'a Step) -> Option<&'a str> {
        match self {
            Self::All | Self::Nothing => None,
            Self::AllBut(refused) => step
                .stages()
                .find(|stage| refused.iter().any(|name| name == stage)),
        }
    }

    /// Returns for each step whether it, or one it is made from, is made anew. Its recipe then
    /// proves nothing: what it is made from may come out differently.
    pub(crate) fn made_anew(&self, graph: &Graph) -> Vec<bool> {
        let mut anew = vec![false; graph.len()];
        // Steps stand behind those they are made from.
        for (id, step) in graph.steps() {
            let inherits = graph.inputs(id).any(|input| anew[input.index()]);
            let is_base = matches!(step.op, Op::From(_));
            anew[id.index()] = inherits || (!is_base && !self.allows(step));
        }
        anew
    }
}

/// What solving came to.
#[derive(Debug)]
pub struct Solution {
    /// The files of each target, in the order asked for, or why there are none.
    pub states: Result<Vec<State>, SolveError>,
    /// What became of each step, in the graph's order.
    pub steps: Vec<StepAccount>,
    /// The key of each step's recipe, in the graph's order.
    pub recipes: Vec<ActionKey>,
    /// The files of each step, in the graph's order; none where nobody asked.
    pub known: Vec<Option<State>>,
}

/// Why there is no solution.
#[derive(Debug, thiserror::Error)]
pub enum SolveError {
    /// A step failed.
    #[error("{source}")]
    Step {
        /// Which.
        step: StepId,
        /// Its name in progress.
        name: String,
        /// Where it is written.
        span: Span,
        /// Why.
        source: StepError,
    },
    /// The layer of a step that was not needed is not to be had after all. Solving again makes it.
    #[error("layer {0} is not to be had")]
    Lost(LayerId),
    /// The person asked to stop.
    #[error("cancelled")]
    Cancelled,
}

/// Builds `targets`.
#[must_use]
pub fn solve(graph: &Graph, targets: &[StepId], deps: &Deps<'_>) -> Solution {
    let facts = match facts(graph, deps) {
        Ok(facts) => facts,
        Err(failure) => {
            return Solution {
                steps: unprepared(graph, &failure, deps),
                states: Err(failure),
                recipes: Vec::new(),
                known: vec![None; graph.len()],
            };
        }
    };
    let keys = keys(graph, |id| facts.content[id.index()]);
    let anew = deps.reuse.made_anew(graph);
    let probe = Probe::new(graph, targets, &keys, &anew, deps);
    for (id, step) in graph.steps() {
        tracing::debug!(
            step = step.label(),
            recipe = %keys[id.index()].recipe,
            is_found = probe.known[id.index()].is_some(),
            is_needed = probe.needed[id.index()],
            "step"
        );
    }
    let mut fates = vec![Fate::NotNeeded; graph.len()];
    let nothing_runs = !probe.needed.contains(&true);
    for (id, step) in graph.steps() {
        let is_cached = match &step.op {
            // A base that must be fetched is reported by whoever fetches it.
            Op::From(from) => nothing_runs || deps.bases.are_here(from.manifest),
            _ => !probe.needed[id.index()],
        };
        if is_cached {
            deps.reporter.start(&step.name).end(VertexEnd::Cached);
        }
        if probe.needed[id.index()] {
            fates[id.index()] = Fate::NotReached;
        } else if probe.known[id.index()].is_some() {
            fates[id.index()] = Fate::Hit;
        }
    }
    let before = match nothing_runs {
        true => Before::default(),
        false => Before::look(graph, &probe.needed, Some(&keys), deps),
    };
    let board = Board::new(graph, probe, fates);
    let workers = deps.jobs.clamp(1, board.open().max(1));
    let (queue, layers) = Queue::new(graph, targets, deps.ahead);
    std::thread::scope(|scope| {
        let work = || work(graph, &keys, &anew, &facts, deps, &board, &queue);
        if let Ahead::Prepare(prepare) = deps.ahead
            && board.open() > 1
        {
            let queue = &queue;
            kiln_threads::help(scope, move || queue.run(&layers, prepare));
        }
        for _ in 1..workers {
            kiln_threads::help(scope, work);
        }
        work();
        queue.close();
    });
    let Shared {
        known,
        fates,
        failure,
        ..
    } = board.into_shared();
    let steps = accounts(graph, &keys, &facts, &before, &known, &fates, deps);
    let states = match failure {
        Some(failure) => Err(failure),
        None => Ok(targets
            .iter()
            .map(|target| {
                let state = known[target.index()].clone();
                state.expect("targets are known when nothing is open")
            })
            .collect()),
    };
    Solution {
        states,
        steps,
        recipes: keys.iter().map(|keys| keys.recipe).collect(),
        known,
    }
}

/// What is known before anything runs.
pub(crate) struct Probe {
    pub(crate) known: Vec<Option<State>>,
    /// Steps that must run, or be found by evidence.
    pub(crate) needed: Vec<bool>,
}

impl Probe {
    pub(crate) fn new(
        graph: &Graph,
        targets: &[StepId],
        keys: &[StepKeys],
        anew: &[bool],
        deps: &Deps<'_>,
    ) -> Self {
        let mut probe = Self {
            known: vec![None; graph.len()],
            needed: vec![false; graph.len()],
        };
        let mut seen = vec![false; graph.len()];
        let mut pending = targets.to_vec();
        while let Some(id) = pending.pop() {
            if std::mem::replace(&mut seen[id.index()], true) {
                continue;
            }
            let step = graph.step(id);
            if let Op::From(from) = &step.op {
                probe.known[id.index()] = Some(State {
                    base: Some(from.manifest),
                    layers: Vec::new(),
                });
                continue;
            }
            let record = match anew[id.index()] {
                true => None,
                false => look_up(deps, &[keys[id.index()].recipe]),
            };
            match record {
                Some(record) => probe.known[id.index()] = Some(record.state),
                None => {
                    probe.needed[id.index()] = true;
                    pending.extend(graph.inputs(id));
                }
            }
        }
        probe
    }
}

/// Returns the first record whose layers are all here or can be brought.
pub(crate) fn look_up(deps: &Deps<'_>, keys: &[ActionKey]) -> Option<ActionRecord> {
    let whole = |record: &ActionRecord| {
        record
            .state
            .layers
            .iter()
            .all(|built| deps.layers.knows(built.layer))
    };
    deps.cache.get_many(keys).into_iter().flatten().find(whole)
}

/// The state that the workers share.
struct Board {
    shared: Mutex<Shared>,
    changed: Condvar,
}

struct Shared {
    ready: VecDeque<StepId>,
    /// Inputs that each needed step still waits for.
    waiting: Vec<usize>,
    dependents: Vec<Vec<StepId>>,
    known: Vec<Option<State>>,
    /// What is proven of each known state.
    proofs: Vec<Proof>,
    fates: Vec<Fate>,
    /// Needed steps that are not finished.
    open: usize,
    failure: Option<SolveError>,
}

impl Board {
    fn new(graph: &Graph, probe: Probe, fates: Vec<Fate>) -> Self {
        let mut shared = Shared {
            ready: VecDeque::new(),
            waiting: vec![0; graph.len()],
            dependents: vec![Vec::new(); graph.len()],
            known: probe.known,
            proofs: vec![Proof::Recipe; graph.len()],
            fates,
            open: probe.needed.iter().filter(|needed| **needed).count(),
            failure: None,
        };
        for (id, _) in graph.steps().filter(|(id, _)| probe.needed[id.index()]) {
            for input in graph.inputs(id) {
                if shared.known[input.index()].is_none() {
                    shared.waiting[id.index()] += 1;
                    shared.dependents[input.index()].push(id);
                }
            }
            if shared.waiting[id.index()] == 0 {
                shared.ready.push_back(id);
            }
        }
        Self {
            shared: Mutex::new(shared),
            changed: Condvar::new(),
        }
    }

    fn open(&self) -> usize {
        self.lock().open
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a step that can run; none when there will be no more.
    fn take(&self) -> Option<StepId> {
        let mut shared = self.lock();
        loop {
            if shared.open == 0 || shared.failure.is_some() {
                return None;
            }
            if let Some(id) = shared.ready.pop_front() {
                return Some(id);
            }
            shared = self
                .changed
                .wait(shared)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn state(&self, id: StepId) -> State {
        let shared = self.lock();
        shared.known[id.index()]
            .clone()
            .expect("a step runs after its inputs")
    }

    /// Returns what is proven of something that is made of the results of `inputs`.
    fn proof(&self, mut inputs: impl Iterator<Item = StepId>) -> Proof {
        let shared = self.lock();
        match inputs.any(|input| shared.proofs[input.index()] == Proof::Evidence) {
            true => Proof::Evidence,
            false => Proof::Recipe,
        }
    }

    /// Notes a result, and returns how many steps are not finished yet.
    fn succeed(&self, id: StepId, state: State, proof: Proof, fate: Fate) -> usize {
        let mut shared = self.lock();
        shared.known[id.index()] = Some(state);
        shared.proofs[id.index()] = proof;
        shared.fates[id.index()] = fate;
        shared.open -= 1;
        for dependent in std::mem::take(&mut shared.dependents[id.index()]) {
            shared.waiting[dependent.index()] -= 1;
            if shared.waiting[dependent.index()] == 0 {
                shared.ready.push_back(dependent);
            }
        }
        self.changed.notify_all();
        shared.open
    }

    /// Ends the build with a step.
    fn end(&self, id: StepId, fate: Fate, failure: SolveError) {
        self.lock().fates[id.index()] = fate;
        self.fail(failure);
    }

    /// Keeps the first failure; what fails because it was stopped does not count.
    fn fail(&self, failure: SolveError) {
        let mut shared = self.lock();
        match shared.failure {
            None | Some(SolveError::Cancelled | SolveError::Lost(_)) => {
                shared.failure = Some(failure);
            }
            Some(_) => {}
        }
        self.changed.notify_all();
    }

    fn into_shared(self) -> Shared {
        self.shared
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn work(
    graph: &Graph,
    keys: &[StepKeys],
    anew: &[bool],
    facts: &Facts,
    deps: &Deps<'_>,
    board: &Board,
    queue: &Queue,
) {
    while let Some(id) = board.take() {
        if deps.is_cancelled() {
            board.fail(SolveError::Cancelled);
            return;
        }
        let step = graph.step(id);
        let parent = step
            .parent
            .map(|parent| board.state(parent))
            .unwrap_or_default();
        let sources = step
            .op
            .sources()
            .map(|source| (source, board.state(source)));
        let vertex = deps.reporter.announce(&step.name);
        let inputs = Inputs {
            step,
            keys: &keys[id.index()],
            is_anew: anew[id.index()],
            proof: board.proof(graph.inputs(id)),
            parent,
            sources: sources.collect(),
            content: facts.content[id.index()],
            identity: facts.identities[id.index()].as_ref(),
            begun: &facts.begun,
        };
        match execute(deps, inputs, &vertex) {
            Ok(Outcome {
                state,
                proof,
                way: Way::Found,
            }) => {
                vertex.end(VertexEnd::Cached);
                board.succeed(id, state, proof, Fate::Found);
            }
            Ok(Outcome {
                state,
                proof,
                way: Way::Ran,
            }) => {
                let took = vertex.elapsed();
                vertex.end(VertexEnd::Done);
                let made = state.layers.last().copied();
                let is_last = board.succeed(id, state, proof, Fate::Ran { took }) == 0;
                if !is_last {
                    queue.add(id, || deps.layers.layer(made?.layer));
                }
            }
            Err(error) => {
                let failure = match deps.is_cancelled() {
                    // Whatever fails after that fails because it was stopped.
                    true => SolveError::Cancelled,
                    false => failure(id, step, error),
                };
                let (end, fate) = match &failure {
                    SolveError::Cancelled | SolveError::Lost(_) => {
                        (VertexEnd::Cancelled, Fate::NotReached)
                    }
                    failed @ SolveError::Step { .. } => {
                        (VertexEnd::Failed(failed.to_string()), Fate::Failed)
                    }
                };
                vertex.end(end);
                // What other steps come to now need not be done again.
                let stop = !matches!(failure, SolveError::Lost(_));
                board.end(id, fate, failure);
                if stop {
                    deps.stop.ask();
                }
                return;
            }
        }
    }
}

pub(crate) fn failure(id: StepId, step: &Step, error: StepError) -> SolveError {
    match error {
        StepError::Cancelled => SolveError::Cancelled,
        StepError::Lost(layer) => SolveError::Lost(layer),
        source => SolveError::Step {
            step: id,
            name: step.name.clone(),
            span: step.span,
            source,
        },
    }
}
