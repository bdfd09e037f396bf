//! What the targets check, which the parser's own tests check too on the committed corpus.

#[path = "../../../parser/tests/parser/checks.rs"]
pub mod checks;
