//! Why there is no plan.

use kiln_oci::TaggedRef;
use kiln_parser::{Diagnostic, Span};

use super::bases::BaseError;

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The Dockerfile or the arguments are wrong, in one or more places.
    #[error("{}", first_message(.0))]
    Input(Vec<Diagnostic>),
    /// An image could not be found.
    #[error("{name}: failed to resolve source metadata for {canonical}")]
    Base {
        /// As written.
        name: String,
        /// In full.
        canonical: TaggedRef,
        /// Where it is written.
        span: Span,
        /// Why.
        source: BaseError,
    },
}

impl PlanError {
    /// Says that an image is mentioned elsewhere.
    pub(super) fn moved(mut self, to: Span) -> Self {
        if let Self::Base { span, .. } = &mut self {
            *span = to;
        }
        self
    }
}

fn first_message(diagnostics: &[Diagnostic]) -> String {
    diagnostics
        .first()
        .map_or_else(String::new, Diagnostic::full_message)
}
