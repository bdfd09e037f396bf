//! Findings about the source text.

use crate::Span;
use crate::reference::mask_logins_in;

/// Errors after which the rest of a file is not looked at: it is not what it is taken for.
pub(crate) const MAX_ERRORS: usize = 100;

/// Something to tell the person who wrote the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether the build can go on.
    pub severity: Severity,
    /// Which part of the parser found it; decides the prefix of [`Diagnostic::full_message`].
    pub origin: Origin,
    /// The lint rule's name, or a short stable name for a kind of error.
    pub code: &'static str,
    /// The place it is about.
    pub span: Span,
    /// The whole instruction around `span`: the lines a plain excerpt marks.
    pub lines: Span,
    /// What is wrong, on one line, without a prefix and without passwords of addresses.
    pub message: String,
    /// Further facts, one sentence each.
    pub notes: Vec<String>,
    /// A replacement for the text at `span` that would be accepted.
    pub suggestion: Option<String>,
    /// Other places that matter.
    pub labels: Vec<Label>,
}

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// The file means nothing until this is mended.
    Error,
    /// The file has a meaning, perhaps not the intended one.
    Warning,
}

/// The part of the parser that speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Lines, directives, heredocs and argument forms: the message stands alone.
    Lexing,
    /// An instruction's own grammar: the message gets the line in front (DF section 13.1).
    Grammar {
        /// The instruction's first line, counted from 1.
        line: u32,
    },
    /// A lint rule.
    Lint,
}

/// A second place a diagnostic speaks about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The place.
    pub span: Span,
    /// What it has to do with the finding.
    pub text: String,
}

impl Diagnostic {
    /// Returns an error without notes.
    #[must_use]
    pub fn error(
        origin: Origin,
        code: &'static str,
        span: Span,
        message: impl Into<String>,
    ) -> Self {
        Self::new(Severity::Error, origin, code, span, &message.into())
    }

    /// Returns a lint finding.
    #[must_use]
    pub fn warning(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, Origin::Lint, code, span, &message.into())
    }

    fn new(
        severity: Severity,
        origin: Origin,
        code: &'static str,
        span: Span,
        message: &str,
    ) -> Self {
        Self {
            severity,
            origin,
            code,
            span,
            lines: span,
            message: mask_logins_in(message),
            notes: Vec::new(),
            suggestion: None,
            labels: Vec::new(),
        }
    }

    /// Names the instruction the finding is in.
    #[must_use]
    pub fn within(mut self, lines: Span) -> Self {
        self.lines = lines;
        self
    }

    /// Adds a sentence.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(mask_logins_in(&note.into()));
        self
    }

    /// Adds a place.
    #[must_use]
    pub fn label(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label {
            span,
            text: text.into(),
        });
        self
    }

    /// Says what would be accepted instead; `None` changes nothing.
    #[must_use]
    pub fn suggest(mut self, replacement: Option<&str>) -> Self {
        if let Some(replacement) = replacement {
            self.suggestion = Some(replacement.to_owned());
        }
        self
    }

    /// Returns the message as a build prints it after `ERROR: failed to build: `.
    #[must_use]
    pub fn full_message(&self) -> String {
        match self.origin {
            Origin::Grammar { line } => {
                format!("dockerfile parse error on line {line}: {}", self.message)
            }
            Origin::Lexing | Origin::Lint => self.message.clone(),
        }
    }
}
