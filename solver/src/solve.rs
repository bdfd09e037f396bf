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
use std::time::Duration;

use kiln_cache::{ActionRecord, CacheBackend, State, Store, Timestamp};
use kiln_parser::Span;
use kiln_runtime::{Cancel, Executor};
use kiln_snapshotter::{LayerStore, Snapshotter};

use crate::agent::Agents;
use crate::ahead::{Ahead, Queue};
use crate::context::ScannedContext;
use crate::execute::{Inputs, Outcome, StepError, execute};
use crate::facts::{Facts, facts};
use crate::graph::{Graph, Op, Step, StepId};
use crate::keys::{StepKeys, keys};
use crate::layers::Layers;
use crate::progress::{Reporter, VertexEnd};
use crate::remote::Remotes;
use crate::run::RunSurroundings;

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
    /// Answers for ssh agents.
    pub agents: &'a (dyn Agents + 'a),
    /// Runs commands.
    pub executor: &'a (dyn Executor + 'a),
    /// What every `RUN` gets besides what its step says.
    pub surroundings: &'a RunSurroundings,
    /// Takes events.
    pub reporter: &'a Reporter<'a>,
    /// Stops everything.
    pub cancel: &'a Cancel,
    /// Steps at the same time.
    pub jobs: usize,
    /// Which earlier results count.
    pub reuse: Reuse,
    /// The time that new layers are given instead of the clock's (`SOURCE_DATE_EPOCH`).
    pub epoch: Option<Timestamp>,
    /// What happens to the layers of the result while later steps run.
    pub ahead: Ahead<'a>,
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
    pub(crate) fn allows(&self, stage: &str) -> bool {
        match self {
            Self::All => true,
            Self::Nothing => false,
            Self::AllBut(stages) => !stages.iter().any(|name| name == stage),
        }
    }

    /// Returns for each step whether it, or one it is made from, is made anew. Its recipe then
    /// proves nothing: what it is made from may come out differently.
    fn made_anew(&self, graph: &Graph) -> Vec<bool> {
        let mut anew = vec![false; graph.len()];
        // Steps stand behind those they are made from.
        for (id, step) in graph.steps() {
            let inherits = graph.inputs(id).any(|input| anew[input.index()]);
            let is_base = matches!(step.op, Op::From(_));
            anew[id.index()] = inherits || (!is_base && !self.allows(&step.stage));
        }
        anew
    }
}

/// What solving came to.
#[derive(Debug)]
pub struct Solution {
    /// The files of each target, in the order asked for.
    pub states: Vec<State>,
    /// What became of each step, in the graph's order.
    pub steps: Vec<StepReport>,
}

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepReport {
    /// A later step's result made it unnecessary.
    NotNeeded,
    /// Its result was there.
    Hit,
    /// It ran.
    Ran(Duration),
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
    /// The person asked to stop.
    #[error("cancelled")]
    Cancelled,
}

/// Builds `targets`.
///
/// # Errors
/// When a step fails, or the person asks to stop.
pub fn solve(graph: &Graph, targets: &[StepId], deps: &Deps<'_>) -> Result<Solution, SolveError> {
    let facts = facts(graph, deps)?;
    let keys = keys(graph, |id| facts.content[id.index()]);
    let anew = deps.reuse.made_anew(graph);
    let probe = Probe::new(graph, targets, &keys, &anew, deps);
    let mut reports = vec![StepReport::NotNeeded; graph.len()];
    let nothing_runs = !probe.needed.contains(&true);
    for (id, step) in graph.steps() {
        let is_cached = match &step.op {
            // A base that must be fetched is reported by whoever fetches it.
            Op::From(from) => nothing_runs || deps.bases.are_here(from.manifest),
            _ => {
                if probe.known[id.index()].is_some() {
                    reports[id.index()] = StepReport::Hit;
                }
                !probe.needed[id.index()]
            }
        };
        if is_cached {
            deps.reporter.start(&step.name).end(VertexEnd::Cached);
        }
    }
    let board = Board::new(graph, probe, reports);
    let workers = deps.jobs.clamp(1, board.open().max(1));
    let (queue, layers) = Queue::new(graph, targets, deps.ahead);
    std::thread::scope(|scope| {
        let work = || work(graph, &keys, &anew, &facts, deps, &board, &queue);
        if let Ahead::Prepare(prepare) = deps.ahead
            && board.open() > 1
        {
            let queue = &queue;
            scope.spawn(move || queue.run(&layers, prepare));
        }
        for _ in 1..workers {
            scope.spawn(work);
        }
        work();
        queue.close();
    });
    board.finish(targets)
}

/// What is known before anything runs.
struct Probe {
    known: Vec<Option<State>>,
    /// Steps that must run, or be found by evidence.
    needed: Vec<bool>,
}

impl Probe {
    fn new(
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

/// Returns the first record whose layers are all here.
pub(crate) fn look_up(deps: &Deps<'_>, keys: &[kiln_cache::ActionKey]) -> Option<ActionRecord> {
    let whole = |record: &ActionRecord| {
        record
            .state
            .layers
            .iter()
            .all(|built| deps.layers.layer(built.layer).is_some())
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
    reports: Vec<StepReport>,
    /// Needed steps that are not finished.
    open: usize,
    failure: Option<SolveError>,
}

impl Board {
    fn new(graph: &Graph, probe: Probe, reports: Vec<StepReport>) -> Self {
        let mut shared = Shared {
            ready: VecDeque::new(),
            waiting: vec![0; graph.len()],
            dependents: vec![Vec::new(); graph.len()],
            known: probe.known,
            reports,
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

    /// Notes a result, and returns how many steps are not finished yet.
    fn succeed(&self, id: StepId, state: State, report: StepReport) -> usize {
        let mut shared = self.lock();
        shared.known[id.index()] = Some(state);
        shared.reports[id.index()] = report;
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

    /// Keeps the first failure; what fails because it was stopped does not count.
    fn fail(&self, failure: SolveError) {
        let mut shared = self.lock();
        match shared.failure {
            None | Some(SolveError::Cancelled) => shared.failure = Some(failure),
            Some(_) => {}
        }
        self.changed.notify_all();
    }

    fn finish(self, targets: &[StepId]) -> Result<Solution, SolveError> {
        let shared = self
            .shared
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(failure) = shared.failure {
            return Err(failure);
        }
        let state = |target: &StepId| {
            let known = shared.known[target.index()].clone();
            known.expect("targets are known when nothing is open")
        };
        Ok(Solution {
            states: targets.iter().map(state).collect(),
            steps: shared.reports,
        })
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
        if deps.cancel.is_triggered() {
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
        let vertex = deps.reporter.start(&step.name);
        let inputs = Inputs {
            step,
            keys: &keys[id.index()],
            is_anew: anew[id.index()],
            parent,
            sources: sources.collect(),
            content: facts.content[id.index()],
            identity: facts.identities[id.index()].as_ref(),
            begun: &facts.begun,
        };
        match execute(deps, inputs, &vertex) {
            Ok(Outcome::Found(state)) => {
                vertex.end(VertexEnd::Cached);
                board.succeed(id, state, StepReport::Hit);
            }
            Ok(Outcome::Ran(state)) => {
                let took = vertex.elapsed();
                vertex.end(VertexEnd::Done);
                let made = state.layers.last().copied();
                let is_last = board.succeed(id, state, StepReport::Ran(took)) == 0;
                if !is_last {
                    queue.add(id, || deps.layers.layer(made?.layer));
                }
            }
            Err(error) => {
                let failure = failure(id, step, error);
                let end = match &failure {
                    SolveError::Cancelled => VertexEnd::Cancelled,
                    failed @ SolveError::Step { .. } => VertexEnd::Failed(failed.to_string()),
                };
                vertex.end(end);
                board.fail(failure);
                deps.cancel.trigger();
                return;
            }
        }
    }
}

pub(crate) fn failure(id: StepId, step: &Step, error: StepError) -> SolveError {
    match error {
        StepError::Cancelled => SolveError::Cancelled,
        source => SolveError::Step {
            step: id,
            name: step.name.clone(),
            span: step.span,
            source,
        },
    }
}
