//! Finds out of which family an instruction is; each family has a file of its own.

use super::parts::Parts;
use super::{command, copy, from, healthcheck, onbuild, pairs, plain};
use crate::ast::{From, Heredoc, Instruction, InstructionKind, Site};
use crate::diagnostic::Diagnostic;
use crate::suggest::{hint, suggest};

/// The instructions' names, sorted: those a misspelt one may have meant.
const NAMES: [&str; 18] = [
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

/// The content of a line.
#[derive(Debug)]
pub(crate) enum Item {
    /// The start of a stage.
    From(From),
    /// Anything else.
    Instruction(Instruction),
}

/// The result of a line. A `FROM` with a mistake is there all the same, so that what follows it is
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

fn kind(
    parts: &Parts<'_>,
    heredocs: Vec<Heredoc>,
    site: &Site,
) -> Result<InstructionKind, Box<Diagnostic>> {
    match parts.keyword.to_ascii_uppercase().as_str() {
        "RUN" => command::run(parts, heredocs),
        "CMD" => command::command_line(parts).map(InstructionKind::Cmd),
        "ENTRYPOINT" => command::command_line(parts).map(InstructionKind::Entrypoint),
        "SHELL" => command::shell(parts),
        "HEALTHCHECK" => healthcheck::parse(parts).map(InstructionKind::Healthcheck),
        "ONBUILD" => onbuild::parse(parts, &heredocs),
        "COPY" => copy::copy(parts, heredocs),
        "ADD" => copy::add(parts, heredocs),
        "ENV" => pairs::pairs(parts).map(InstructionKind::Env),
        "LABEL" => pairs::pairs(parts).map(InstructionKind::Label),
        "ARG" => pairs::arg(parts, site).map(InstructionKind::Arg),
        "EXPOSE" => plain::expose(parts),
        "VOLUME" => plain::volume(parts),
        "USER" => plain::checked(parts).map(InstructionKind::User),
        "WORKDIR" => plain::checked(parts).map(InstructionKind::Workdir),
        "MAINTAINER" => plain::checked(parts).map(InstructionKind::Maintainer),
        "STOPSIGNAL" => plain::rest(parts).map(InstructionKind::StopSignal),
        _ => Err(unknown(parts)),
    }
}

fn unknown(parts: &Parts<'_>) -> Box<Diagnostic> {
    let closest = suggest(parts.keyword, NAMES);
    let message = format!("unknown instruction: {}{}", parts.keyword, hint(closest));
    let problem = parts.error("unknown-instruction", parts.keyword, message);
    Box::new(problem.suggest(closest))
}
