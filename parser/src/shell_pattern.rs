//! The patterns of `${name#pattern}`, `${name%pattern}` and `${name/pattern/text}`.
//!
//! `*` is any run, `?` any character; brackets mean themselves. They become regular expressions,
//! whose engine stays linear whatever the pattern.

use regex::{NoExpand, Regex};
use thiserror::Error;

/// A pattern that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum PatternError {
    #[error("invalid escape '\\{0}'")]
    Escape(char),
    #[error("trailing escape")]
    TrailingEscape,
    #[error("pattern too large")]
    TooLarge,
}

/// Which end of a value to strip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Prefix,
    Suffix,
}

/// How much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    Shortest,
    Longest,
}

/// Removes a prefix or suffix that matches.
pub(crate) fn strip(
    value: &str,
    pattern: &str,
    end: End,
    extent: Extent,
) -> Result<String, PatternError> {
    let mut pieces = pieces(pattern)?;
    match end {
        End::Prefix => {
            let regex = regex(&pieces, extent, true)?;
            Ok(regex
                .find(value)
                .map_or(value, |found| &value[found.end()..])
                .to_owned())
        }
        // Engines search from the left; the shortest suffix is the shortest prefix, backwards.
        End::Suffix => {
            pieces.reverse();
            let regex = regex(&pieces, extent, true)?;
            let backwards: String = value.chars().rev().collect();
            let length = regex.find(&backwards).map_or(0, |found| found.end());
            Ok(value[..value.len() - length].to_owned())
        }
    }
}

/// Replaces the first match, or all of them.
pub(crate) fn replace(
    value: &str,
    pattern: &str,
    replacement: &str,
    all: bool,
) -> Result<String, PatternError> {
    let regex = regex(&pieces(pattern)?, Extent::Longest, false)?;
    let limit = if all { 0 } else { 1 };
    Ok(regex
        .replacen(value, limit, NoExpand(replacement))
        .into_owned())
}

enum Piece {
    Run,
    Any,
    Literal(char),
}

fn pieces(pattern: &str) -> Result<Vec<Piece>, PatternError> {
    let mut pieces = Vec::new();
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        pieces.push(match character {
            '*' => Piece::Run,
            '?' => Piece::Any,
            '\\' => match characters.next() {
                // The delimiters of the substitution may be escaped as well.
                Some(escaped @ ('*' | '?' | '\\' | '}' | '/')) => Piece::Literal(escaped),
                Some(other) => return Err(PatternError::Escape(other)),
                None => return Err(PatternError::TrailingEscape),
            },
            literal => Piece::Literal(literal),
        });
    }
    Ok(pieces)
}

fn regex(pieces: &[Piece], extent: Extent, anchored: bool) -> Result<Regex, PatternError> {
    let mut text = String::from(if anchored { "^(?s)" } else { "(?s)" });
    for piece in pieces {
        match piece {
            Piece::Run if extent == Extent::Shortest => text.push_str(".*?"),
            Piece::Run => text.push_str(".*"),
            Piece::Any => text.push('.'),
            Piece::Literal(character) => {
                text.push_str(&regex::escape(character.encode_utf8(&mut [0; 4])));
            }
        }
    }
    Regex::new(&text).map_err(|_| PatternError::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn df_050_stripping() {
        #[track_caller]
        fn check(value: &str, pattern: &str, end: End, extent: Extent, expected: &str) {
            assert_eq!(strip(value, pattern, end, extent).unwrap(), expected);
        }
        let path = "/a/b/c.tar.gz";
        check(path, "*/", End::Prefix, Extent::Shortest, "a/b/c.tar.gz");
        check(path, "*/", End::Prefix, Extent::Longest, "c.tar.gz");
        check(path, ".*", End::Suffix, Extent::Shortest, "/a/b/c.tar");
        check(path, ".*", End::Suffix, Extent::Longest, "/a/b/c");
        check("abc", "b", End::Prefix, Extent::Shortest, "abc");
        check("abc", "*", End::Suffix, Extent::Shortest, "abc");
        check("abc", "*", End::Suffix, Extent::Longest, "");
        check("aé", "?", End::Suffix, Extent::Shortest, "a");
        check("a*b", "a\\*", End::Prefix, Extent::Shortest, "b");
        check("a\nb", "a?", End::Prefix, Extent::Shortest, "b");
    }

    #[test]
    fn replacing() {
        #[track_caller]
        fn check(value: &str, pattern: &str, replacement: &str, all: bool, expected: &str) {
            assert_eq!(replace(value, pattern, replacement, all).unwrap(), expected);
        }
        check("a.b.c", ".", "_", false, "a_b.c"); // DF-051
        check("a.b.c", ".", "_", true, "a_b_c");
        check("/a/b", "\\/", "-", true, "-a-b"); // DF-052
        check("a[a-z]b", "[a-z]", "", true, "ab"); // DF-053
        check("xaybz", "a*b", "-", false, "x-z");
        check("ab", "b", "$0", true, "a$0");
        check("abab", "a*b", "-", false, "-");
    }

    #[test]
    fn malformed() {
        assert_eq!(pieces("a\\b").err(), Some(PatternError::Escape('b')));
        assert_eq!(pieces("a\\").err(), Some(PatternError::TrailingEscape));
        assert_eq!(
            replace("", &"é".repeat(1_000_000), "", true),
            Err(PatternError::TooLarge)
        );
    }
}
