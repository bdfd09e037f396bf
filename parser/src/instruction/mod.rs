//! One logical line to one instruction.
//!
//! Each family of instructions has its own file; this one finds out which family it is.

mod command; // RUN CMD ENTRYPOINT SHELL HEALTHCHECK ONBUILD
mod copy; // COPY ADD
mod from; // FROM
mod pairs; // ENV LABEL ARG
mod plain; // EXPOSE USER WORKDIR VOLUME STOPSIGNAL MAINTAINER

use crate::ast::{From, Heredoc, Instruction, Kind, Site};
use crate::diagnostic::{Diagnostic, Origin};
use crate::flags::{self, Flag, Flags, Takes};
use crate::json::{self, Array, Strings};
use crate::logical::LogicalLine;
use crate::suggest::{hint, suggest};
use crate::words;

/// The instructions' names, sorted: those a misspelt one may have meant.
pub(crate) const NAMES: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// What a line may be.
#[derive(Debug)]
pub(crate) enum Item {
    /// The start of a stage.
    From(From),
    /// Anything else.
    Instruction(Instruction),
}

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
    fn inner(&self) -> Self {
        Self::of_text(self.line, self.arguments, self.escape)
    }

    fn is(&self, name: &str) -> bool {
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

    fn check_flags(&self, defined: &[(&'static str, Takes)]) -> Result<Flags, Box<Diagnostic>> {
        Flags::check(&self.flags, defined, self.line)
    }

    /// Refuses any flag.
    fn no_flags(&self) -> Result<(), Box<Diagnostic>> {
        self.check_flags(&[]).map(|_| ())
    }

    /// Returns the arguments as JSON strings, if they are that.
    fn json(&self) -> Result<Option<Strings<'a>>, Box<Diagnostic>> {
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
    fn lexing_error(
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
    fn error(&self, code: &'static str, at: &str, message: impl Into<String>) -> Box<Diagnostic> {
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
    fn requires(&self, what: &str) -> Box<Diagnostic> {
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

/// What became of a line. A `FROM` with a mistake is there all the same, so that what follows it is
/// not reported as standing outside any stage.
pub(crate) type Outcome = (Option<Item>, Option<Box<Diagnostic>>);

/// Parses one instruction whose heredocs have been read; reports the first thing wrong with it.
pub(crate) fn parse(parts: &Parts<'_>, heredocs: Vec<Heredoc>, site: Site) -> Outcome {
    if parts.is("FROM") {
        let (from, problem) = from::parse(parts, site);
        return (Some(Item::From(from)), problem);
    }
    match kind(parts, heredocs, &site) {
        Ok(kind) => (Some(Item::Instruction(Instruction { site, kind })), None),
        Err(problem) => (None, Some(problem)),
    }
}

fn kind(parts: &Parts<'_>, heredocs: Vec<Heredoc>, site: &Site) -> Result<Kind, Box<Diagnostic>> {
    match parts.keyword.to_ascii_uppercase().as_str() {
        "RUN" => command::run(parts, heredocs),
        "CMD" => command::command_line(parts).map(Kind::Cmd),
        "ENTRYPOINT" => command::command_line(parts).map(Kind::Entrypoint),
        "SHELL" => command::shell(parts),
        "HEALTHCHECK" => command::healthcheck(parts).map(Kind::Healthcheck),
        "ONBUILD" => command::onbuild(parts, &heredocs),
        "COPY" => copy::copy(parts, heredocs),
        "ADD" => copy::add(parts, heredocs),
        "ENV" => pairs::pairs(parts).map(Kind::Env),
        "LABEL" => pairs::pairs(parts).map(Kind::Label),
        "ARG" => pairs::arg(parts, site).map(Kind::Arg),
        "EXPOSE" => plain::expose(parts),
        "VOLUME" => plain::volume(parts),
        "USER" => plain::checked(parts).map(Kind::User),
        "WORKDIR" => plain::checked(parts).map(Kind::Workdir),
        "MAINTAINER" => plain::checked(parts).map(Kind::Maintainer),
        "STOPSIGNAL" => plain::rest(parts).map(Kind::StopSignal),
        _ => Err(unknown(parts)),
    }
}

fn unknown(parts: &Parts<'_>) -> Box<Diagnostic> {
    let closest = suggest(parts.keyword, NAMES);
    let message = format!("unknown instruction: {}{}", parts.keyword, hint(closest));
    let problem = parts.error("unknown-instruction", parts.keyword, message);
    Box::new(problem.suggest(closest))
}

/// Checks what can be said about an instruction inside `ONBUILD`: its argument form.
fn check_form(parts: &Parts<'_>) -> Result<(), Box<Diagnostic>> {
    match parts.keyword.to_ascii_uppercase().as_str() {
        "RUN" | "CMD" | "ENTRYPOINT" | "SHELL" | "COPY" | "ADD" | "VOLUME" => {
            parts.json().map(|_| ())
        }
        "HEALTHCHECK" => command::healthcheck_form(parts).map(|_| ()),
        "ENV" | "LABEL" => pairs::form(parts).map(|_| ()),
        _ => Ok(()),
    }
}
