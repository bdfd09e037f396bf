//! Instructions that hold a command: `RUN`, `CMD`, `ENTRYPOINT`, `SHELL`, `HEALTHCHECK`, `ONBUILD`.

use super::copy::has_variable;
use super::{Parts, check_form};
use crate::ast::{CommandLine, Healthcheck, Heredoc, Kind, MountFlag, Onbuild, Run, Text};
use crate::diagnostic::Diagnostic;
use crate::duration;
use crate::flags::Takes::{Value, Values};
use crate::json::{self, Array, Strings};
use crate::mount;
use crate::quote::quote;
use crate::suggest::suggest;

/// Shortest duration a health check may have, in nanoseconds: one millisecond.
const SHORTEST: i64 = 1_000_000;

pub(super) fn run(parts: &Parts<'_>, heredocs: Vec<Heredoc>) -> Result<Kind, Box<Diagnostic>> {
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
    Ok(Kind::Run(Run {
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

fn exec(strings: Strings<'_>) -> CommandLine {
    CommandLine::Exec(strings.into_iter().map(|(string, _)| string).collect())
}

pub(super) fn shell(parts: &Parts<'_>) -> Result<Kind, Box<Diagnostic>> {
    let command = command_line(parts)?;
    match command {
        CommandLine::Exec(arguments) if !arguments.is_empty() => Ok(Kind::Shell(arguments)),
        CommandLine::Shell(text) if !text.raw.is_empty() => {
            let message = "SHELL requires the arguments to be in JSON form";
            Err(parts.error("json", parts.arguments, message))
        }
        _ => Err(parts.requires("at least one argument")),
    }
}

/// Splits the type off and reads the rest in one of its forms; `None` without a type.
pub(super) fn healthcheck_form<'a>(
    parts: &Parts<'a>,
) -> Result<Option<(&'a str, CommandLine)>, Box<Diagnostic>> {
    let arguments = parts.arguments;
    let end = arguments
        .find(char::is_whitespace)
        .unwrap_or(arguments.len());
    let (kind, rest) = arguments.split_at(end);
    let rest = rest.trim_start();
    if kind.is_empty() {
        return Ok(None);
    }
    let command = match json::array(rest) {
        Array::Strings(strings) => exec(strings),
        Array::No => CommandLine::Shell(parts.line.text_of(rest)),
        Array::NotStrings => {
            let message = "when using JSON array syntax, arrays must be comprised of strings only";
            return Err(parts.lexing_error("json", rest, message));
        }
    };
    Ok(Some((kind, command)))
}

pub(super) fn healthcheck(parts: &Parts<'_>) -> Result<Healthcheck, Box<Diagnostic>> {
    let Some((kind, command)) = healthcheck_form(parts)? else {
        return Err(parts.requires("at least one argument"));
    };
    let empty = match &command {
        CommandLine::Shell(text) => text.raw.is_empty(),
        CommandLine::Exec(arguments) => arguments.is_empty(),
    };
    if kind.eq_ignore_ascii_case("NONE") {
        if !empty {
            let message = "HEALTHCHECK NONE takes no arguments";
            return Err(parts.error("arguments", parts.arguments, message));
        }
        return Ok(Healthcheck::None);
    }

    let mut flags = parts.check_flags(&[
        ("interval", Value),
        ("retries", Value),
        ("start-interval", Value),
        ("start-period", Value),
        ("timeout", Value),
    ])?;
    if !kind.eq_ignore_ascii_case("CMD") {
        let name = quote(&kind.to_uppercase());
        let message = format!("Unknown type {name} in HEALTHCHECK (try CMD)");
        return Err(parts.error("healthcheck", kind, message));
    }
    if empty {
        let message = "Missing command after HEALTHCHECK CMD";
        return Err(parts.error("healthcheck", kind, message));
    }
    let mut time = |name: &str| optional_duration(parts, name, flags.value(name));
    Ok(Healthcheck::Command {
        command,
        interval: time("interval")?,
        timeout: time("timeout")?,
        start_period: time("start-period")?,
        start_interval: time("start-interval")?,
        retries: retries(parts, flags.value("retries"))?,
    })
}

fn optional_duration(
    parts: &Parts<'_>,
    name: &str,
    value: Option<Text>,
) -> Result<i64, Box<Diagnostic>> {
    let Some(value) = value else { return Ok(0) };
    let fail = |message: String| {
        let mut problem = parts.error("healthcheck", parts.keyword, message);
        problem.span = value.span;
        problem
    };
    let nanoseconds = duration::parse(&value.raw).map_err(|error| fail(error.to_string()))?;
    if nanoseconds != 0 && nanoseconds < SHORTEST {
        return Err(fail(format!(
            "Interval {} cannot be less than 1ms",
            quote(name)
        )));
    }
    Ok(nanoseconds)
}

fn retries(parts: &Parts<'_>, value: Option<Text>) -> Result<i64, Box<Diagnostic>> {
    let Some(value) = value else { return Ok(0) };
    let fail = |message: String| {
        let mut problem = parts.error("healthcheck", parts.keyword, message);
        problem.span = value.span;
        problem
    };
    let digits = value.raw.strip_prefix(['+', '-']).unwrap_or(&value.raw);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(fail(format!(
            "invalid value for --retries: {}",
            quote(&value.raw)
        )));
    }
    match value.raw.parse::<i32>() {
        Ok(retries) if retries < 0 => {
            Err(fail(format!("--retries cannot be negative ({retries})")))
        }
        Ok(retries) => Ok(i64::from(retries)),
        Err(_) => Err(fail(format!(
            "value of --retries is out of range: {}",
            value.raw
        ))),
    }
}

pub(super) fn onbuild(parts: &Parts<'_>, heredocs: &[Heredoc]) -> Result<Kind, Box<Diagnostic>> {
    let inner = parts.inner();
    check_form(&inner)?;
    if parts.arguments.is_empty() {
        return Err(parts.requires("at least one argument"));
    }
    parts.no_flags()?;
    match inner.keyword.to_ascii_uppercase().as_str() {
        "ONBUILD" => {
            let message = "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed";
            return Err(parts.error("onbuild", inner.keyword, message));
        }
        name @ ("FROM" | "MAINTAINER") => {
            let message = format!("{name} isn't allowed as an ONBUILD trigger");
            return Err(parts.error("onbuild", inner.keyword, message));
        }
        _ => {}
    }
    // Blanks at the end of the line are stored, too.
    let mut trigger = parts.line.from(parts.rest).to_owned();
    for heredoc in heredocs {
        trigger.push('\n');
        trigger.push_str(heredoc.verbatim());
        trigger.push_str(&heredoc.name);
    }
    let mut span = parts.line.span_of(parts.rest);
    if let Some(last) = heredocs.last() {
        span = span.cover(last.marker);
    }
    Ok(Kind::Onbuild(Onbuild { trigger, span }))
}
