//! Why there is no solution.

use kiln_parser::Span;
use kiln_tree::LayerId;

use crate::graph::{Step, StepId};
use crate::step_error::StepError;

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
    /// The layer of a step that seemed to be cached cannot be fetched after all. Solving again runs
    /// the step.
    #[error("layer {0} cannot be fetched any more")]
    Lost(LayerId),
    /// The user asked to stop.
    #[error("cancelled")]
    Cancelled,
}

impl SolveError {
    /// Returns why a build ends with the failure of a step.
    pub(crate) fn of_step(id: StepId, step: &Step, error: StepError) -> Self {
        match error {
            StepError::Cancelled => Self::Cancelled,
            StepError::Lost(layer) => Self::Lost(layer),
            source => Self::Step {
                step: id,
                name: step.name.clone(),
                span: step.span,
                source,
            },
        }
    }
}
