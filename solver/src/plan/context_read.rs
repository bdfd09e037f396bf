//! What instructions read of the build context, for who knows its ignore rules.

use kiln_parser::Span;

/// A path of the build context that an instruction names. Whether it is ignored, only the owner of
/// the context knows: rule CopyIgnoredFile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextRead {
    /// `Copy` or `Add`, as the rule says it.
    pub verb: &'static str,
    /// The path or pattern, expanded.
    pub path: String,
    /// Where it is written.
    pub span: Span,
}
