//! What can be wrong with a template.

/// What is wrong with a template, or with a value for it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It is no template.
    #[error("template parsing error: template: :1: {0}")]
    Syntax(String),
    /// It is one, but not for this value.
    #[error("template: :1: executing \"\" at <{at}>: {problem}")]
    Value {
        /// The part of the template.
        at: String,
        /// What is wrong.
        problem: String,
    },
}

/// Returns the error of a text that is no template.
pub(super) fn syntax(problem: &str) -> TemplateError {
    TemplateError::Syntax(problem.to_owned())
}
