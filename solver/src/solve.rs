//! Executes what is missing.
//!
//! From the target back, each step is looked up by its recipe key. A hit ends the search there:
//! nothing below it is looked at, fetched or unpacked. What remains runs as its inputs become
//! known, on up to `jobs` threads; before a step runs, its evidence keys are tried, and a lock
//! makes sure that no other kiln runs the same step at the same time.
//!
//! The first failure stops everything else.

use kiln_cache::{ActionKey, LayerStack};

use crate::account::{StepAccount, accounts, unprepared};
use crate::board::{Board, BoardState};
use crate::deps::Deps;
use crate::execute::{StepOutcome, Way, execute};
use crate::graph::{Graph, Op, StepId};
use crate::inputs::Inputs;
use crate::journal::Fate;
use crate::keys::{StepKeys, keys};
use crate::precompute::{Precompute, Queue};
use crate::probe::Probe;
use crate::progress::VertexEnd;
use crate::solve_error::SolveError;
use crate::source_facts::{SourceFacts, facts};
use crate::why::Before;

/// What solving came to.
#[derive(Debug)]
pub struct Solution {
    /// The files of each target, in the order asked for, or why there are none.
    pub states: Result<Vec<LayerStack>, SolveError>,
    /// What became of each step, in the graph's order.
    pub steps: Vec<StepAccount>,
    /// The key of each step's recipe, in the graph's order.
    pub recipes: Vec<ActionKey>,
    /// The files of each step, in the graph's order; none for steps that no target needed.
    pub known: Vec<Option<LayerStack>>,
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
            // A base that must be fetched is reported by the one that fetches it
            // ([`Layers`](crate::Layers)).
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
    let before = if nothing_runs {
        Before::default()
    } else {
        Before::look(graph, &probe.needed, Some(&keys), deps)
    };
    let board = Board::new(graph, probe, fates);
    let workers = deps.jobs.clamp(1, board.open().max(1));
    let (queue, layers) = Queue::new(graph, targets, deps.precompute);
    std::thread::scope(|scope| {
        let work = || work(graph, &keys, &anew, &facts, deps, &board, &queue);
        if let Precompute::Prepare(prepare) = deps.precompute
            && board.open() > 1
        {
            let queue = &queue;
            kiln_threads::spawn_or_skip(scope, move || queue.run(&layers, prepare));
        }
        for _ in 1..workers {
            kiln_threads::spawn_or_skip(scope, work);
        }
        work();
        queue.close();
    });
    let BoardState {
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

fn work(
    graph: &Graph,
    keys: &[StepKeys],
    anew: &[bool],
    facts: &SourceFacts<'_>,
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
            selected: &facts.selected[id.index()],
            content: facts.content[id.index()],
            identity: facts.identities[id.index()].as_ref(),
            begun: &facts.begun,
        };
        match execute(deps, inputs, &vertex) {
            Ok(StepOutcome {
                state,
                proof,
                way: Way::Found,
            }) => {
                vertex.end(VertexEnd::Cached);
                board.succeed(id, state, proof, Fate::Found);
            }
            Ok(StepOutcome {
                state,
                proof,
                way: Way::Ran,
            }) => {
                let took = vertex.elapsed();
                vertex.end(VertexEnd::Done);
                let made = state.top();
                let is_last = board.succeed(id, state, proof, Fate::Ran { took }) == 0;
                if !is_last {
                    queue.add(id, || deps.layers.layer(made?.layer));
                }
            }
            Err(error) => {
                let failure = if deps.is_cancelled() {
                    // Once the user has asked to stop, errors are the consequence.
                    SolveError::Cancelled
                } else {
                    SolveError::of_step(id, step, error)
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
                // The other steps go on: the engine solves again, and finds their results.
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
