//! `HEALTHCHECK`.

use super::command::exec;
use super::parts::Parts;
use crate::ast::{CommandLine, Healthcheck, Text};
use crate::diagnostic::Diagnostic;
use crate::duration;
use crate::flags::Takes::Value;
use crate::json::{self, Array};
use crate::quote::quote;

/// Shortest duration a health check may have, in nanoseconds: one millisecond.
const SHORTEST: i64 = 1_000_000;

/// Splits the type off and reads the rest in one of its forms; `None` without a type.
pub(super) fn form<'a>(
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

pub(super) fn parse(parts: &Parts<'_>) -> Result<Healthcheck, Box<Diagnostic>> {
    let Some((kind, command)) = form(parts)? else {
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
