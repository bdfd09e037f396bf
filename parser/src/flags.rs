//! Flags: the leading words of an instruction that start with `--`.
//!
//! Quotes and escapes are taken away here, before anything is expanded.

use nom::branch::alt;
use nom::bytes::complete::{tag, take_till1};
use nom::character::complete::{anychar, char};
use nom::combinator::{map, opt, peek};
use nom::multi::fold_many0;
use nom::sequence::{delimited, preceded};
use nom::{IResult, Parser};

use crate::ast::Text;
use crate::diagnostic::{Diagnostic, Origin};
use crate::logical::LogicalLine;
use crate::suggest::{hint, suggest};

const CODE: &str = "flag";

/// One flag as scanned.
#[derive(Clone, Debug)]
pub(crate) struct Flag<'a> {
    /// The whole word without quotes and escapes, `--` included.
    word: String,
    /// The whole word as it stands in the line.
    slice: &'a str,
}

/// Takes the flags off the front of `text`; returns them and the arguments.
///
/// A bare `--` ends the flags and is dropped.
pub(crate) fn scan(mut text: &str, escape: char) -> (Vec<Flag<'_>>, &str) {
    let mut flags = Vec::new();
    loop {
        text = text.trim_start();
        let Ok((rest, (word, slice))) = flag_word(text, escape) else {
            return (flags, text);
        };
        if word == "--" {
            return (flags, rest.trim_start());
        }
        flags.push(Flag { word, slice });
        text = rest;
    }
}

/// Parses one word that starts with `--`.
fn flag_word(text: &str, escape: char) -> IResult<&str, (String, &str)> {
    let (_, _) = peek(tag("--")).parse(text)?;
    let (rest, word) = fold_many0(
        alt((quoted('"', escape), quoted('\'', escape), one(escape))),
        String::new,
        |mut word: String, piece| {
            word.push_str(&piece);
            word
        },
    )
    .parse(text)?;
    Ok((rest, (word, &text[..text.len() - rest.len()])))
}

/// A quoted stretch; an unterminated one runs to the end.
fn quoted<'a>(
    mark: char,
    escape: char,
) -> impl Parser<&'a str, Output = String, Error = nom::error::Error<&'a str>> {
    delimited(
        char(mark),
        fold_many0(
            alt((
                map(take_till1(move |c| c == mark || c == escape), str::to_owned),
                escaped(escape),
            )),
            String::new,
            |mut text: String, piece| {
                text.push_str(&piece);
                text
            },
        ),
        opt(char(mark)),
    )
}

/// Unquoted characters.
fn one<'a>(
    escape: char,
) -> impl Parser<&'a str, Output = String, Error = nom::error::Error<&'a str>> {
    alt((
        map(
            take_till1(move |c: char| c.is_whitespace() || matches!(c, '"' | '\'') || c == escape),
            str::to_owned,
        ),
        escaped(escape),
    ))
}

/// An escape token and what follows it; nothing, at the end of the text.
fn escaped<'a>(
    escape: char,
) -> impl Parser<&'a str, Output = String, Error = nom::error::Error<&'a str>> {
    preceded(
        char(escape),
        map(opt(anychar), |c| c.map(String::from).unwrap_or_default()),
    )
}

/// The values that a flag takes, and how often it may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    /// `--name`, `--name=true`, `--name=false`.
    Switch,
    /// `--name=value`, once.
    Value,
    /// `--name=value`, any number of times.
    Values,
}

/// The flags of one instruction, checked against those it defines.
#[derive(Debug, Default)]
pub(crate) struct Flags {
    values: Vec<(&'static str, Text)>,
}

impl Flags {
    /// Checks the scanned flags; `defined` is sorted by name.
    ///
    /// # Errors
    /// Reports the first flag that is unknown, repeated or lacks a proper value.
    pub(crate) fn check(
        scanned: &[Flag<'_>],
        defined: &[(&'static str, Takes)],
        line: &LogicalLine,
    ) -> Result<Self, Box<Diagnostic>> {
        let mut flags = Self::default();
        for Flag { word, slice } in scanned {
            let span = line.span_of(slice);
            let fail = |message: String| {
                Box::new(Diagnostic::error(
                    Origin::Grammar { line: line.number },
                    CODE,
                    span,
                    message,
                ))
            };
            let body = word.strip_prefix("--").unwrap_or(word);
            let (name, value) = match body.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (body, None),
            };
            let Some((known, takes)) = defined.iter().find(|(known, _)| *known == name) else {
                let closest = suggest(name, defined.iter().map(|(known, _)| *known));
                let replacement = closest.map(|closest| match value {
                    Some(value) => format!("--{closest}={value}"),
                    None => format!("--{closest}"),
                });
                let message = format!("unknown flag: --{name}{}", hint(closest));
                let problem = fail(message).suggest(replacement.as_deref());
                return Err(Box::new(match closest {
                    Some(_) => problem,
                    None => problem.note(flags_of(defined)),
                }));
            };
            if *takes != Takes::Values && flags.values.iter().any(|(other, _)| other == known) {
                return Err(fail(format!("duplicate flag specified: --{name}")));
            }
            let missing = || {
                let problem = fail(format!("missing a value on flag: --{name}"));
                let value = match takes {
                    Takes::Switch => "true",
                    Takes::Value | Takes::Values => "VALUE",
                };
                Box::new(problem.note(format!("write it as --{name}={value}")))
            };
            let value = match (takes, value) {
                (Takes::Switch, Some("")) | (Takes::Value | Takes::Values, None) => {
                    return Err(missing());
                }
                (Takes::Switch, None) => "true".to_owned(),
                (Takes::Switch, Some(value)) => {
                    let lower = value.to_lowercase();
                    if lower != "true" && lower != "false" {
                        let message =
                            format!("expecting boolean value for flag --{name}, not: {value}");
                        return Err(fail(message));
                    }
                    lower
                }
                (Takes::Value | Takes::Values, Some(value)) => value.to_owned(),
            };
            flags.values.push((
                known,
                Text {
                    raw: value,
                    span: line.span_of(value_slice(slice)),
                },
            ));
        }
        Ok(flags)
    }

    /// Returns the value of a flag. An empty one counts as absent.
    pub(crate) fn value(&mut self, name: &str) -> Option<Text> {
        let index = self.values.iter().position(|(known, _)| *known == name)?;
        let (_, text) = self.values.remove(index);
        (!text.raw.is_empty()).then_some(text)
    }

    /// Returns the value of a switch that stands there.
    pub(crate) fn switch(&mut self, name: &str) -> Option<bool> {
        self.value(name).map(|text| text.raw == "true")
    }

    /// Returns all values of a flag, in order.
    pub(crate) fn values(&mut self, name: &str) -> Vec<Text> {
        self.values
            .extract_if(.., |(known, _)| *known == name)
            .map(|(_, text)| text)
            .collect()
    }
}

/// Says which flags there are, in the order of the alphabet.
fn flags_of(defined: &[(&'static str, Takes)]) -> String {
    let mut names: Vec<String> = defined
        .iter()
        .map(|(name, _)| format!("--{name}"))
        .collect();
    names.sort_unstable();
    if names.is_empty() {
        "this instruction takes no flags".to_owned()
    } else {
        format!("this instruction takes {}", names.join(" "))
    }
}

/// Returns the part of a flag word behind the first `=`, or the whole word.
fn value_slice(slice: &str) -> &str {
    slice.split_once('=').map_or(slice, |(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_end_at_the_first_argument() {
        #[track_caller]
        fn check(text: &str, words: &[&str], rest: &str) {
            let (flags, arguments) = scan(text, '\\');
            let found: Vec<_> = flags.iter().map(|flag| flag.word.as_str()).collect();
            assert_eq!((&found[..], arguments), (words, rest));
        }
        check("--a --b=c  d --e", &["--a", "--b=c"], "d --e");
        check(r#"--a="b c" d"#, &["--a=b c"], "d");
        check(r#"--a='b "c' d"#, &[r#"--a=b "c"#], "d");
        check(r"--a=b\ c d", &["--a=b c"], "d");
        check(r#"--a="b\"c" d"#, &[r#"--a=b"c"#], "d");
        check("--a -- --b", &["--a"], "--b");
        check("--", &[], "");
        check("- --a", &[], "- --a");
        check("--a=\"b", &["--a=b"], "");
        check("--a=b\\", &["--a=b"], "");
        check("", &[], "");
    }

    #[test]
    fn a_flags_value_is_found_in_its_word() {
        assert_eq!(value_slice("--a=b=c"), "b=c");
        assert_eq!(value_slice("--a"), "--a");
    }
}
