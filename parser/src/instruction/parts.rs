//! A logical line, cut into name, flags and arguments.

use crate::ast::Site;
use crate::diagnostic::{Diagnostic, Origin};
use crate::flags::{self, Flag, Flags, Takes};
use crate::json::{self, Array, Strings};
use crate::logical::LogicalLine;
use crate::words;

/// A logical line cut into name, flags and arguments.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) line: &'a LogicalLine,
    /// The name as written.
    pub(crate) keyword: &'a str,
    /// Everything behind the name.
    pub(crate) rest: &'a str,
    flags: Vec<Flag<'a>>,
    /// What stands behind the flags, blanks at both ends removed.
    pub(crate) arguments: &'a str,
    pub(crate) escape: char,
}

impl<'a> Parts<'a> {
    pub(crate) fn of(line: &'a LogicalLine, escape: char) -> Self {
        Self::of_text(line, line.text.trim(), escape)
    }

    /// Cuts a slice of the line's text.
    fn of_text(line: &'a LogicalLine, text: &'a str, escape: char) -> Self {
        let (keyword, rest) = words::split_first(text);
        let rest = rest.unwrap_or(&text[text.len()..]);
        let (flags, arguments) = flags::scan(rest, escape);
        Self {
            line,
            keyword,
            rest,
            flags,
            arguments: arguments.trim(),
            escape,
        }
    }

    /// Returns the instruction inside `ONBUILD`.
    pub(super) fn inner(&self) -> Self {
        Self::of_text(self.line, self.arguments, self.escape)
    }

    pub(super) fn is(&self, name: &str) -> bool {
        self.keyword.eq_ignore_ascii_case(name)
    }

    /// Returns whether `<<` in this line starts a heredoc.
    pub(crate) fn may_hold_heredocs(&self) -> bool {
        let may = |parts: &Self| {
            (parts.is("RUN") || parts.is("COPY") || parts.is("ADD"))
                && !json::is_array(parts.arguments)
        };
        self.line.text.contains("<<") && (may(self) || (self.is("ONBUILD") && may(&self.inner())))
    }

    pub(super) fn check_flags(
        &self,
        defined: &[(&'static str, Takes)],
    ) -> Result<Flags, Box<Diagnostic>> {
        Flags::check(&self.flags, defined, self.line)
    }

    /// Refuses any flag.
    pub(super) fn no_flags(&self) -> Result<(), Box<Diagnostic>> {
        self.check_flags(&[]).map(|_| ())
    }

    /// Returns the arguments as JSON strings, if they are that.
    pub(super) fn json(&self) -> Result<Option<Strings<'a>>, Box<Diagnostic>> {
        match json::array(self.arguments) {
            Array::No => Ok(None),
            Array::Strings(strings) => Ok(Some(strings)),
            Array::NotStrings => Err(self.lexing_error(
                "json",
                self.arguments,
                "when using JSON array syntax, arrays must be comprised of strings only",
            )),
        }
    }

    /// An error of the argument form.
    pub(super) fn lexing_error(
        &self,
        code: &'static str,
        at: &str,
        message: impl Into<String>,
    ) -> Box<Diagnostic> {
        Box::new(Diagnostic::error(
            Origin::Lexing,
            code,
            self.line.span_of(at),
            message,
        ))
    }

    /// An error of this instruction's grammar.
    pub(super) fn error(
        &self,
        code: &'static str,
        at: &str,
        message: impl Into<String>,
    ) -> Box<Diagnostic> {
        let origin = Origin::Grammar {
            line: self.line.number,
        };
        Box::new(Diagnostic::error(
            origin,
            code,
            self.line.span_of(at),
            message,
        ))
    }

    /// An error about the number of arguments, which names the instruction in capitals.
    pub(super) fn requires(&self, what: &str) -> Box<Diagnostic> {
        let message = format!("{} requires {what}", self.keyword.to_uppercase());
        self.error("arguments", self.keyword, message)
    }

    pub(crate) fn site(&self, end: u32) -> Site {
        let mut span = self.line.span;
        span.end = span.end.max(end);
        Site {
            span,
            keyword: self.line.text_of(self.keyword),
            line: self.line.text.trim().to_owned(),
            comments: self.line.comments.clone(),
            empty_continuation: self.line.empty_continuation,
        }
    }
}
