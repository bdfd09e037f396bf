//! Instructions that hold a command: `RUN`, `CMD`, `ENTRYPOINT`, `SHELL`.

use super::copy::has_variable;
use super::parts::Parts;
use crate::ast::{CommandLine, Heredoc, InstructionKind, MountFlag, Run, Text};
use crate::diagnostic::Diagnostic;
use crate::flags::Takes::{Value, Values};
use crate::json::Strings;
use crate::mount;
use crate::quote::quote;
use crate::suggest::suggest;

pub(super) fn run(
    parts: &Parts<'_>,
    heredocs: Vec<Heredoc>,
) -> Result<InstructionKind, Box<Diagnostic>> {
    let command = form(parts)?;
    let mut flags = parts.check_flags(&[
        ("device", Values),
        ("mount", Values),
        ("network", Value),
        ("security", Value),
    ])?;
    let mounts = flags
        .values("mount")
        .into_iter()
        .map(|value| mount_flag(parts, value))
        .collect::<Result<_, _>>()?;
    let network = one_of(
        parts,
        flags.value("network"),
        &["default", "none", "host"],
        |value| format!("invalid network mode {value}"),
    )?;
    let security = one_of(
        parts,
        flags.value("security"),
        &["sandbox", "insecure"],
        |value| format!("security {value} is not valid"),
    )?;
    let devices = flags.values("device");
    Ok(InstructionKind::Run(Run {
        command,
        heredocs,
        mounts,
        network,
        security,
        devices,
    }))
}

/// Lets a value through that is one of a few.
fn one_of(
    parts: &Parts<'_>,
    value: Option<Text>,
    known: &[&str],
    message: impl Fn(&str) -> String,
) -> Result<Option<Text>, Box<Diagnostic>> {
    match value {
        Some(value) if !known.contains(&value.raw.as_str()) => {
            let message = message(&quote(&value.raw));
            let mut problem = parts.error("flag", parts.keyword, message);
            problem.span = value.span;
            let closest = suggest(&value.raw, known.iter().copied());
            let expected = format!("expected {}", alternatives(known));
            Err(Box::new(problem.suggest(closest).note(expected)))
        }
        value => Ok(value),
    }
}

/// Returns `a, b or c`.
fn alternatives(words: &[&str]) -> String {
    match words {
        [rest @ .., last] if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.concat(),
    }
}

fn mount_flag(parts: &Parts<'_>, value: Text) -> Result<MountFlag, Box<Diagnostic>> {
    let fail = |message: String| {
        let mut problem = parts.error("mount", parts.keyword, message);
        problem.span = value.span;
        problem
    };
    let fields = mount::split(&value.raw).map_err(|error| fail(error.to_string()))?;
    let from = fields.iter().find(|(key, _)| key == "from");
    if from
        .and_then(|(_, from)| from.as_deref())
        .is_some_and(has_variable)
    {
        let message = "'from' doesn't support variable expansion, define alias stage instead";
        return Err(fail(message.to_owned()));
    }
    Ok(MountFlag { fields, value })
}

/// Parses `CMD` or `ENTRYPOINT`.
pub(super) fn command_line(parts: &Parts<'_>) -> Result<CommandLine, Box<Diagnostic>> {
    let command = form(parts)?;
    parts.no_flags()?;
    Ok(command)
}

/// Decides between JSON form and shell form.
fn form(parts: &Parts<'_>) -> Result<CommandLine, Box<Diagnostic>> {
    Ok(match parts.json()? {
        Some(strings) => exec(strings),
        None => CommandLine::Shell(parts.line.text_of(parts.arguments)),
    })
}

pub(super) fn exec(strings: Strings<'_>) -> CommandLine {
    CommandLine::Exec(strings.into_iter().map(|(string, _)| string).collect())
}

pub(super) fn shell(parts: &Parts<'_>) -> Result<InstructionKind, Box<Diagnostic>> {
    let command = command_line(parts)?;
    match command {
        CommandLine::Exec(arguments) if !arguments.is_empty() => {
            Ok(InstructionKind::Shell(arguments))
        }
        CommandLine::Shell(text) if !text.raw.is_empty() => {
            let message = "SHELL requires the arguments to be in JSON form";
            Err(parts.error("json", parts.arguments, message))
        }
        _ => Err(parts.requires("at least one argument")),
    }
}
