//! What is known about a step when the question is asked why it runs.

use kiln_cache::{LayerStack, Receipt};

use crate::graph::{Graph, StepId};
use crate::reason::Reason;

/// What is known about a step when the question is asked.
pub(crate) struct Now<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) id: StepId,
    /// The receipt of its result; without a result, of what is known of it.
    pub(crate) receipt: Receipt,
    /// The states of the steps, as far as they are known.
    pub(crate) states: &'a [Option<LayerStack>],
    /// What the steps before it were found to run for.
    pub(crate) known: &'a [Vec<Reason>],
}
