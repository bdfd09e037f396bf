//! What a build would do: the same look-ups as [`solve`](crate::solve), and nothing executed.
//!
//! A step that is missing under its recipe can be found by evidence once its inputs are known.
//! Where they are known now, that is tried now; where a step below must run first, the result
//! depends on what that comes to.

use std::collections::HashMap;
use std::time::Duration;

use kiln_cache::LayerStack;
use kiln_tree::Blake3;

use crate::deps::Deps;
use crate::execute::read;
use crate::graph::{Graph, Op, StepId};
use crate::keys::{evidence, keys, receipt};
use crate::probe::Probe;
use crate::reason::Reason;
use crate::solve_error::SolveError;
use crate::source_facts::{SourceFacts, facts};
use crate::step_trees::Sources;
use crate::why::{Before, Now, reasons};

/// What would become of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// What would become of it.
    pub expected: Expected,
    /// If it would run: why, the most telling reason first.
    pub because: Vec<Reason>,
    /// If it would or might run: how long it took the last time that it did.
    pub took_last: Option<Duration>,
}

/// What would become of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// A later step's result makes it unnecessary.
    NotNeeded,
    /// Its result is there.
    Hit,
    /// It would run.
    Runs,
    /// Its result may be there: that depends on what another step comes to.
    Unknown {
        /// That step.
        until: StepId,
    },
}

/// Says what building `targets` would do. Executes nothing and writes nothing.
///
/// # Errors
/// When it is clear already that a step would fail, or the user asks to stop.
pub fn forecast(
    graph: &Graph,
    targets: &[StepId],
    deps: &Deps<'_>,
) -> Result<Vec<Forecast>, SolveError> {
    let facts = facts(graph, deps)?;
    let keys = keys(graph, |id| facts.content[id.index()]);
    let anew = deps.reuse.made_anew(graph);
    let Probe { mut known, needed } = Probe::new(graph, targets, &keys, &anew, deps);
    let before = if needed.contains(&true) {
        Before::look(graph, &needed, Some(&keys), deps)
    } else {
        Before::default()
    };
    let mut all: Vec<Forecast> = Vec::with_capacity(graph.len());
    let mut because: Vec<Vec<Reason>> = Vec::with_capacity(graph.len());
    for (id, step) in graph.steps() {
        let mut read_now = facts.content[id.index()];
        let expected = if !needed[id.index()] {
            match known[id.index()] {
                Some(_) => Expected::Hit,
                None => Expected::NotNeeded,
            }
        } else if !deps.reuse.allows(step) {
            Expected::Runs
        } else if let Some(until) = open_input(graph, id, &known, &all, deps) {
            match before.past(id) {
                Some(_) => Expected::Unknown { until },
                // What was never built cannot be found, whatever the others come to.
                None => Expected::Runs,
            }
        } else {
            let parent = match step.parent {
                Some(parent) => known[parent.index()].clone().unwrap_or_default(),
                None => LayerStack::default(),
            };
            read_now = content(graph, id, &known, &facts, deps);
            let names = evidence(&step.op, keys[id.index()].weak, &parent, read_now);
            let layer = deps.look_up(&names).and_then(|found| found.state.top());
            match layer {
                Some(layer) => {
                    known[id.index()] = Some(parent.with(layer));
                    Expected::Hit
                }
                None => Expected::Runs,
            }
        };
        let now = Now {
            graph,
            id,
            receipt: receipt(&step.op, read_now),
            states: &known,
            known: &because,
        };
        let why = match expected {
            Expected::Runs => reasons(&before, &now, deps),
            _ => Vec::new(),
        };
        let past = before.past(id).and_then(|past| past.record.as_ref());
        all.push(Forecast {
            expected,
            took_last: match expected {
                Expected::Runs | Expected::Unknown { .. } => past.map(|record| record.took),
                Expected::Hit | Expected::NotNeeded => None,
            },
            because: why.clone(),
        });
        because.push(why);
    }
    Ok(all)
}

/// Returns the first step that must be executed before the inputs of a step are known.
fn open_input(
    graph: &Graph,
    id: StepId,
    known: &[Option<LayerStack>],
    all: &[Forecast],
    deps: &Deps<'_>,
) -> Option<StepId> {
    for input in graph.inputs(id) {
        let Some(state) = &known[input.index()] else {
            return Some(match all[input.index()].expected {
                Expected::Unknown { until } => until,
                _ => input,
            });
        };
        // The files of a base that is elsewhere cannot be read before it is fetched.
        let is_read = graph.step(id).op.sources().any(|source| source == input);
        if let (true, Some(manifest)) = (is_read, state.base())
            && !deps.bases.are_here(manifest)
        {
            return Some(base_of(graph, input));
        }
    }
    None
}

/// Returns the step at the bottom of a stack.
fn base_of(graph: &Graph, mut id: StepId) -> StepId {
    while let (Some(parent), false) = (
        graph.step(id).parent,
        matches!(graph.step(id).op, Op::From(_)),
    ) {
        id = parent;
    }
    id
}

/// Returns the digest of what a step reads whose inputs are known.
fn content(
    graph: &Graph,
    id: StepId,
    known: &[Option<LayerStack>],
    facts: &SourceFacts<'_>,
    deps: &Deps<'_>,
) -> Option<Blake3> {
    let op = &graph.step(id).op;
    let states: HashMap<StepId, LayerStack> = op
        .sources()
        .filter_map(|source| Some((source, known[source.index()].clone()?)))
        .collect();
    if states.is_empty() {
        return facts.content[id.index()];
    }
    // What cannot be read fails when it is built, and says so then.
    let sources = Sources::new(deps.layer_loader(), deps.contexts, &states).ok()?;
    let (selected, content) = (&facts.selected[id.index()], facts.content[id.index()]);
    read(op, &sources, selected, content).ok()?.1
}
