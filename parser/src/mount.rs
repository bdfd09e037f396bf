//! `RUN --mount` values: comma-separated fields, and what they mean once expanded.

mod error;
mod spec;

use nom::branch::alt;
use nom::bytes::complete::{tag, take_till, take_till1};
use nom::character::complete::char;
use nom::combinator::{map, value};
use nom::multi::{fold_many0, separated_list1};
use nom::sequence::delimited;
use nom::{IResult, Parser};
use thiserror::Error;

pub use error::MountError;
pub use spec::{FileOwner, MountKind, MountSpec, Sharing};

/// A text that is not a line of comma-separated values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SplitError {
    /// Nothing there.
    #[error("failed to parse csv mounts: EOF")]
    Empty,
    /// A quote in the middle of a field.
    #[error(
        "failed to parse csv mounts: parse error on line 1, column {0}: bare \" in non-quoted field"
    )]
    BareQuote(usize),
    /// A quoted field that does not end, or goes on behind its quote.
    #[error(
        "failed to parse csv mounts: parse error on line 1, column {0}: extraneous or missing \" in quoted-field"
    )]
    Quote(usize),
}

/// Splits a value into fields: key in lower case, and what stands behind `=`.
///
/// A field in double quotes may hold commas, and a doubled double quote for one.
///
/// # Errors
/// If quotes stand where they may not.
pub fn split(text: &str) -> Result<Vec<(String, Option<String>)>, SplitError> {
    if text.is_empty() {
        return Err(SplitError::Empty);
    }
    let parsed: IResult<&str, Vec<String>> =
        separated_list1(char(','), alt((quoted, plain))).parse(text);
    let column = |rest: &str| text.len() - rest.len() + 1;
    match parsed {
        Ok(("", fields)) => Ok(fields.iter().map(|field| key_and_value(field)).collect()),
        // A field that starts with a quote falls through to a plain, empty one if it is not closed.
        Ok((rest, _)) => {
            let before = &text[..text.len() - rest.len()];
            if rest.starts_with('"') && !before.is_empty() && !before.ends_with([',', '"']) {
                Err(SplitError::BareQuote(column(rest)))
            } else {
                Err(SplitError::Quote(column(rest)))
            }
        }
        Err(_) => Err(SplitError::Quote(1)),
    }
}

fn quoted(text: &str) -> IResult<&str, String> {
    delimited(
        char('"'),
        fold_many0(
            alt((value("\"", tag("\"\"")), take_till1(|c| c == '"'))),
            String::new,
            |mut field: String, piece| {
                field.push_str(piece);
                field
            },
        ),
        char('"'),
    )
    .parse(text)
}

fn plain(text: &str) -> IResult<&str, String> {
    map(take_till(|c| matches!(c, ',' | '"')), str::to_owned).parse(text)
}

fn key_and_value(field: &str) -> (String, Option<String>) {
    match field.split_once('=') {
        Some((key, value)) => (key.to_lowercase(), Some(value.to_owned())),
        None => (field.to_lowercase(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_split_at_commas() {
        #[track_caller]
        fn check(text: &str, expected: &[(&str, Option<&str>)]) {
            let fields = split(text).unwrap();
            let fields: Vec<_> = fields
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_deref()))
                .collect();
            assert_eq!(fields, expected);
        }
        check(
            "type=cache,TARGET=/A,ro",
            &[
                ("type", Some("cache")),
                ("target", Some("/A")),
                ("ro", None),
            ],
        );
        check(
            r#""target=/a,b",rw"#,
            &[("target", Some("/a,b")), ("rw", None)],
        );
        check(r#""a=""b""""#, &[("a", Some("\"b\""))]);
        check(
            "a=b=c,,d=",
            &[("a", Some("b=c")), ("", None), ("d", Some(""))],
        );
    }

    #[test]
    fn quotes_in_wrong_places() {
        #[track_caller]
        fn check(text: &str, expected: SplitError) {
            assert_eq!(split(text), Err(expected));
        }
        check("", SplitError::Empty);
        check("a=\"b\"", SplitError::BareQuote(3));
        check("\"a", SplitError::Quote(1));
        check("a,\"b\"c", SplitError::Quote(6));
    }
}
