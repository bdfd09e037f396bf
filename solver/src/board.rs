//! The ready queue that the workers of a build share: steps become ready as their inputs are known.
//!
//! The first failure ends it.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};

use kiln_cache::LayerStack;

use crate::graph::{Graph, StepId};
use crate::inputs::ResultProof;
use crate::journal::Fate;
use crate::probe::Probe;
use crate::solve_error::SolveError;

/// Which steps are ready, running and done.
pub(crate) struct Board {
    shared: Mutex<BoardState>,
    changed: Condvar,
}

/// What the workers share.
pub(crate) struct BoardState {
    ready: VecDeque<StepId>,
    /// Inputs that each needed step still waits for.
    waiting: Vec<usize>,
    dependents: Vec<Vec<StepId>>,
    pub(crate) known: Vec<Option<LayerStack>>,
    /// What is proven of each known state.
    proofs: Vec<ResultProof>,
    pub(crate) fates: Vec<Fate>,
    /// Needed steps that are not finished.
    open: usize,
    pub(crate) failure: Option<SolveError>,
}

impl Board {
    pub(crate) fn new(graph: &Graph, probe: Probe, fates: Vec<Fate>) -> Self {
        let mut shared = BoardState {
            ready: VecDeque::new(),
            waiting: vec![0; graph.len()],
            dependents: vec![Vec::new(); graph.len()],
            known: probe.known,
            proofs: vec![ResultProof::Recipe; graph.len()],
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

    pub(crate) fn open(&self) -> usize {
        self.lock().open
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BoardState> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a step that can run; none when there will be no more.
    pub(crate) fn take(&self) -> Option<StepId> {
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

    pub(crate) fn state(&self, id: StepId) -> LayerStack {
        let shared = self.lock();
        shared.known[id.index()]
            .clone()
            .expect("a step runs after its inputs")
    }

    /// Returns what is proven of something that is made of the results of `inputs`.
    pub(crate) fn proof(&self, mut inputs: impl Iterator<Item = StepId>) -> ResultProof {
        let shared = self.lock();
        if inputs.any(|input| shared.proofs[input.index()] == ResultProof::Evidence) {
            ResultProof::Evidence
        } else {
            ResultProof::Recipe
        }
    }

    /// Notes a result, and returns how many steps are not finished yet.
    pub(crate) fn succeed(
        &self,
        id: StepId,
        state: LayerStack,
        proof: ResultProof,
        fate: Fate,
    ) -> usize {
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
    pub(crate) fn end(&self, id: StepId, fate: Fate, failure: SolveError) {
        self.lock().fates[id.index()] = fate;
        self.fail(failure);
    }

    /// Keeps the first failure; the error of a step that was stopped does not count.
    pub(crate) fn fail(&self, failure: SolveError) {
        let mut shared = self.lock();
        match shared.failure {
            None | Some(SolveError::Cancelled | SolveError::Lost(_)) => {
                shared.failure = Some(failure);
            }
            Some(_) => {}
        }
        self.changed.notify_all();
    }

    pub(crate) fn into_shared(self) -> BoardState {
        self.shared
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
