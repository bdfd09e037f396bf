//! Expansion of words, and where what goes wrong is collected.

use kiln_parser::{Diagnostic, Origin, Quoting, Span, Text, expand};

use super::variables::Variables;

/// Bytes that the words of a file may come to, with what commands are given of them: far more than
/// real Dockerfiles need, and little enough that variables made of variables do not fill the
/// memory.
const MOST: usize = 128 << 20;

/// Expands words and collects errors and warnings.
#[derive(Debug, Default)]
pub(crate) struct Words {
    escape: char,
    /// Bytes that were made so far.
    spent: usize,
    pub(crate) errors: Vec<Diagnostic>,
    pub(crate) warnings: Vec<Diagnostic>,
    /// Names of global `ARG`s, to explain why a stage does not know them.
    pub(crate) global: Vec<String>,
}

impl Words {
    pub(crate) fn new(escape: char) -> Self {
        Self {
            escape,
            spent: 0,
            errors: Vec::new(),
            warnings: Vec::new(),
            global: Vec::new(),
        }
    }

    /// Expands a word. If that fails, an error is noted and the result is empty.
    pub(crate) fn expand(&mut self, text: &Text, variables: &Variables) -> String {
        self.expand_as(text, Quoting::Word, variables, |_, _| ())
    }

    pub(super) fn expand_as(
        &mut self,
        text: &Text,
        quoting: Quoting,
        variables: &Variables,
        mut undefined: impl FnMut(&mut Self, &str),
    ) -> String {
        if self.spent > MOST {
            return String::new();
        }
        let lookup = |name: &str| variables.get(name).map(str::to_owned);
        match expand(&text.raw, self.escape, quoting, &lookup) {
            Ok(expansion) if !self.spend(expansion.value.len(), text.span) => String::new(),
            Ok(expansion) => {
                for name in expansion.undefined {
                    undefined(self, &name);
                }
                expansion.value
            }
            Err(problem) => {
                self.error("expansion", text.span, problem.message);
                String::new()
            }
        }
    }

    /// Counts bytes that are made of words. False, and an error, if they are too many.
    pub(crate) fn spend(&mut self, bytes: usize, span: Span) -> bool {
        let before = self.spent;
        self.spent = self.spent.saturating_add(bytes);
        if self.spent > MOST && before <= MOST {
            let message = format!("the words up to here expand to more than {MOST} bytes");
            self.error("expansion", span, message);
        }
        self.spent <= MOST
    }

    pub(crate) fn error(&mut self, code: &'static str, span: Span, message: impl Into<String>) {
        self.errors.push(error(code, span, message));
    }

    /// Returns how much was found so far.
    pub(crate) fn marks(&self) -> (usize, usize) {
        (self.errors.len(), self.warnings.len())
    }

    /// Moves what was found since to another place.
    pub(crate) fn move_all(&mut self, since: (usize, usize), span: Span, note: &str) {
        let errors = self.errors.iter_mut().skip(since.0);
        for found in errors.chain(self.warnings.iter_mut().skip(since.1)) {
            found.span = span;
            found.lines = span;
            found.labels.clear();
            found.notes.push(note.to_owned());
        }
    }

    /// Adds a note to the last error.
    pub(crate) fn note(&mut self, note: String) {
        if let Some(error) = self.errors.last_mut() {
            error.notes.push(note);
        }
    }
}

/// Returns an error about a place in the Dockerfile.
pub(crate) fn error(code: &'static str, span: Span, message: impl Into<String>) -> Diagnostic {
    Diagnostic::error(Origin::Lexing, code, span, message)
}
