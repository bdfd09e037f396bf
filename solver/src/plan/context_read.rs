//! What instructions read of the build context, for a check against its ignore file.

use kiln_parser::Span;

/// A path of the build context that an instruction names. The planner does not know the ignore
/// file; the engine, which does, applies rule CopyIgnoredFile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextRead {
    /// `Copy` or `Add`, as the rule says it.
    pub verb: &'static str,
    /// The path or pattern, expanded.
    pub path: String,
    /// Where it is written.
    pub span: Span,
}
