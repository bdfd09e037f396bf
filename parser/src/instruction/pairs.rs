//! `ENV`, `LABEL` and `ARG`: names and values.

use nom::bytes::complete::{tag, take_until};
use nom::combinator::rest;
use nom::sequence::separated_pair;
use nom::{IResult, Parser};

use super::parts::Parts;
use crate::ast::{Arg, Pairs, Site, Text};
use crate::diagnostic::Diagnostic;
use crate::quote::quote;
use crate::words;

/// Parses `ENV` or `LABEL`.
pub(super) fn pairs(parts: &Parts<'_>) -> Result<Pairs, Box<Diagnostic>> {
    let pairs = form(parts)?;
    parts.no_flags()?;
    if pairs.pairs.is_empty() {
        return Err(parts.requires("at least one argument"));
    }
    if pairs.pairs.iter().any(|(name, _)| name.raw.is_empty()) {
        return Err(blank_name(parts));
    }
    Ok(pairs)
}

/// Decides between `name=value …` and the legacy `name value`.
pub(super) fn form(parts: &Parts<'_>) -> Result<Pairs, Box<Diagnostic>> {
    let words = words::quoted(parts.arguments, parts.escape);
    let Some(first) = words.first() else {
        return Ok(Pairs {
            pairs: vec![],
            legacy: false,
        });
    };
    if !first.contains('=') {
        let (name, value) = words::split_first(parts.arguments);
        let Some(value) = value else {
            let message = format!("{} must have two arguments", parts.keyword.to_uppercase());
            return Err(parts.lexing_error("key-value", parts.arguments, message));
        };
        let pair = (parts.line.text_of(name), parts.line.text_of(value));
        return Ok(Pairs {
            pairs: vec![pair],
            legacy: true,
        });
    }
    let pairs = words
        .into_iter()
        .map(|word| pair(parts, word))
        .collect::<Result<_, _>>()?;
    Ok(Pairs {
        pairs,
        legacy: false,
    })
}

fn pair(parts: &Parts<'_>, word: &str) -> Result<(Text, Text), Box<Diagnostic>> {
    match name_and_value(word) {
        Some((name, value)) => Ok((parts.line.text_of(name), parts.line.text_of(value))),
        None => {
            let message = format!(
                "Syntax error - can't find = in {}. Must be of the form: name=value",
                quote(word)
            );
            let note = "blanks separate the pairs: a value that holds one needs quotes";
            let problem = parts.lexing_error("key-value", word, message);
            Err(Box::new(problem.note(note)))
        }
    }
}

fn name_and_value(word: &str) -> Option<(&str, &str)> {
    let parsed: IResult<&str, (&str, &str)> =
        separated_pair(take_until("="), tag("="), rest).parse(word);
    parsed.ok().map(|(_, pair)| pair)
}

/// Parses `ARG`. Its flags are swallowed unseen.
pub(super) fn arg(parts: &Parts<'_>, site: &Site) -> Result<Arg, Box<Diagnostic>> {
    let words = words::quoted(parts.arguments, parts.escape);
    if words.is_empty() {
        return Err(parts.requires("at least one argument"));
    }
    let declarations = words
        .into_iter()
        .map(|word| match name_and_value(word) {
            Some(("", _)) => Err(blank_name(parts)),
            Some((name, value)) => Ok((parts.line.text_of(name), Some(parts.line.text_of(value)))),
            None => Ok((parts.line.text_of(word), None)),
        })
        .collect::<Result<_, _>>()?;
    Ok(Arg {
        site: site.clone(),
        declarations,
    })
}

fn blank_name(parts: &Parts<'_>) -> Box<Diagnostic> {
    let message = format!("{} names can not be blank", parts.keyword.to_uppercase());
    parts.error("arguments", parts.arguments, message)
}
