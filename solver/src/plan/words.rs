//! Expansion of words, and where what goes wrong is collected.

use std::collections::BTreeSet;

use kiln_parser::{Diagnostic, Heredoc, Origin, Quoting, Span, Text, expand, suggest};

use super::variables::Variables;

/// Expands words and collects errors and warnings.
#[derive(Debug, Default)]
pub(crate) struct Words {
    escape: char,
    pub(crate) errors: Vec<Diagnostic>,
    pub(crate) warnings: Vec<Diagnostic>,
    /// Names that are declared but have no value: no warning about those.
    pub(crate) declared: BTreeSet<String>,
}

impl Words {
    pub(crate) fn new(escape: char) -> Self {
        Self {
            escape,
            errors: Vec::new(),
            warnings: Vec::new(),
            declared: BTreeSet::new(),
        }
    }

    /// Expands a word; one that cannot be comes out empty, and an error is noted.
    pub(crate) fn expand(&mut self, text: &Text, variables: &Variables) -> String {
        self.expand_as(&text.raw, text.span, Quoting::Word, variables)
    }

    /// Expands a heredoc's body, unless it is quoted.
    pub(crate) fn expand_body(&mut self, heredoc: &Heredoc, variables: &Variables) -> String {
        match heredoc.expand {
            true => self.expand_as(
                &heredoc.body,
                heredoc.marker,
                Quoting::HeredocBody,
                variables,
            ),
            false => heredoc.body.clone(),
        }
    }

    fn expand_as(
        &mut self,
        raw: &str,
        span: Span,
        quoting: Quoting,
        variables: &Variables,
    ) -> String {
        let lookup = |name: &str| variables.get(name).map(str::to_owned);
        match expand(raw, self.escape, quoting, &lookup) {
            Ok(expansion) => {
                for name in expansion.undefined {
                    self.warn_undefined(&name, span, variables);
                }
                expansion.value
            }
            Err(problem) => {
                self.error("expansion", span, problem.message);
                String::new()
            }
        }
    }

    pub(crate) fn error(&mut self, code: &'static str, span: Span, message: impl Into<String>) {
        self.errors.push(error(code, span, message));
    }

    /// Adds a note to the last error.
    pub(crate) fn note(&mut self, note: String) {
        if let Some(error) = self.errors.last_mut() {
            error.notes.push(note);
        }
    }

    fn warn_undefined(&mut self, name: &str, span: Span, variables: &Variables) {
        if self.declared.contains(name) || name.is_empty() {
            return;
        }
        let known = variables.names();
        let hint = suggest(name, known)
            .map_or_else(String::new, |close| format!(" (did you mean ${close}?)"));
        let message = format!("Usage of undefined variable '${name}'{hint}");
        self.warnings
            .push(Diagnostic::warning("UndefinedVar", span, message));
    }
}

/// Returns an error about a place in the Dockerfile.
pub(crate) fn error(code: &'static str, span: Span, message: impl Into<String>) -> Diagnostic {
    Diagnostic::error(Origin::Lexing, code, span, message)
}
