//! What became of the steps of a build.

use kiln_cache::{ActionKey, Actions, CacheBackend as _, LayerStack};

use crate::deps::Deps;
use crate::graph::{Graph, Op, Step, StepId};
use crate::journal::Fate;
use crate::keys::{StepKeys, receipt};
use crate::reason::Reason;
use crate::solve_error::SolveError;
use crate::source_facts::SourceFacts;
use crate::why::{Before, Now, reasons};

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepAccount {
    /// What became of it.
    pub fate: Fate,
    /// Where its last result is recorded: this build's, else an earlier one's. None for a base.
    pub key: Option<ActionKey>,
    /// If it ran or failed: why its result was not there, the most telling reason first.
    pub because: Vec<Reason>,
}

/// Returns the account of a build that failed before it knew what there was to do.
pub(crate) fn unprepared(graph: &Graph, failure: &SolveError, deps: &Deps<'_>) -> Vec<StepAccount> {
    let before = Before::look(graph, &vec![true; graph.len()], None, deps);
    let account = |(id, _): (StepId, &Step)| StepAccount {
        fate: match failure {
            SolveError::Step { step, .. } if *step == id => Fate::Failed,
            _ => Fate::NotReached,
        },
        key: before.past(id).map(|past| past.key),
        because: Vec::new(),
    };
    graph.steps().map(account).collect()
}

/// Says what became of every step, and why those that ran had to.
pub(crate) fn accounts(
    graph: &Graph,
    keys: &[StepKeys],
    facts: &SourceFacts<'_>,
    before: &Before,
    known: &[Option<LayerStack>],
    fates: &[Fate],
    deps: &Deps<'_>,
) -> Vec<StepAccount> {
    let actions = Actions::new(deps.store);
    let mut because: Vec<Vec<Reason>> = Vec::with_capacity(graph.len());
    for (id, step) in graph.steps() {
        let keys = &keys[id.index()];
        because.push(match fates[id.index()] {
            Fate::Ran { .. } | Fate::Failed => {
                // The digest of what a step read of other steps was found when it ran, and stands
                // in its record. Without a past there is nothing to compare that with.
                let made = before
                    .past(id)
                    .and_then(|_| actions.get_many(&[keys.recipe]).pop().flatten());
                let now = Now {
                    graph,
                    id,
                    receipt: match made {
                        Some(record) if fates[id.index()] != Fate::Failed => record.receipt,
                        _ => receipt(&step.op, facts.content[id.index()]),
                    },
                    states: known,
                    known: &because,
                };
                reasons(before, &now, deps)
            }
            Fate::NotNeeded | Fate::Hit | Fate::Found | Fate::NotReached => Vec::new(),
        });
    }
    let account = |((id, step), because): ((StepId, &Step), Vec<Reason>)| StepAccount {
        fate: fates[id.index()],
        key: match (&step.op, fates[id.index()]) {
            (Op::From(_), _) => None,
            (_, Fate::Failed | Fate::NotReached) => before.past(id).map(|past| past.key),
            _ => Some(keys[id.index()].recipe),
        },
        because,
    };
    graph.steps().zip(because).map(account).collect()
}
