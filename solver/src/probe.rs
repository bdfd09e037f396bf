//! Which steps must run: each is looked up by its recipe, from the targets back.
//!
//! A hit ends the search there: nothing below it is looked at, fetched or unpacked.

use kiln_cache::LayerStack;

use crate::deps::Deps;
use crate::graph::{Graph, Op, StepId};
use crate::keys::StepKeys;

/// What is known before anything runs.
pub(crate) struct Probe {
    pub(crate) known: Vec<Option<LayerStack>>,
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
                probe.known[id.index()] = Some(LayerStack::on(Some(from.manifest)));
                continue;
            }
            let record = if anew[id.index()] {
                None
            } else {
                deps.look_up(&[keys[id.index()].recipe])
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
