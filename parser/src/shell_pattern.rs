//! The patterns of `${name#pattern}`, `${name%pattern}` and `${name/pattern/text}`.
//!
//! `*` is any run, `?` any character; brackets mean themselves. The stars cut a pattern into
//! segments, and each segment is looked for once: where a segment can stand early, what follows
//! it has the most room, so nothing is ever tried a second time.

use thiserror::Error;

/// Most bytes a word expands to: far more than any system passes to a process, and little enough
/// that variables made of variables do not fill the memory.
pub(crate) const MAX_VALUE: usize = 64 << 20;

/// Most characters of a pattern.
const MAX_PATTERN: usize = 4096;

/// Most comparisons of characters for one pattern: a tenth of a second. A segment with `?` may be
/// compared at every place of a value.
const MAX_COMPARISONS: usize = 1 << 26;

/// A pattern that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum ShellPatternError {
    #[error("invalid escape '\\{0}'")]
    Escape(char),
    #[error("trailing escape")]
    TrailingEscape,
    #[error("pattern has more than {MAX_PATTERN} characters")]
    TooLong,
    #[error("result has more than {MAX_VALUE} bytes")]
    ResultTooLong,
    #[error("a pattern of {pattern} characters with ? for a value of {value} bytes")]
    TooManyComparisons { pattern: usize, value: usize },
}

/// Which end of a value to strip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StrippedEnd {
    Prefix,
    Suffix,
}

/// The length of the match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MatchLength {
    Shortest,
    Longest,
}

/// Removes a prefix or suffix that matches.
pub(crate) fn strip(
    value: &str,
    pattern: &str,
    end: StrippedEnd,
    extent: MatchLength,
) -> Result<String, ShellPatternError> {
    let mut pieces = pieces(pattern)?;
    match end {
        StrippedEnd::Prefix => {
            let length = ShellPattern::new(&pieces, value)?.prefix(value, extent);
            Ok(value[length.unwrap_or(0)..].to_owned())
        }
        // A suffix is a prefix, backwards.
        StrippedEnd::Suffix => {
            pieces.reverse();
            let backwards: String = value.chars().rev().collect();
            let length = ShellPattern::new(&pieces, value)?.prefix(&backwards, extent);
            Ok(value[..value.len() - length.unwrap_or(0)].to_owned())
        }
    }
}

/// Replaces the first match, or all of them.
pub(crate) fn replace(
    value: &str,
    pattern: &str,
    replacement: &str,
    all: bool,
) -> Result<String, ShellPatternError> {
    let pattern = ShellPattern::new(&pieces(pattern)?, value)?;
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    while let Some((start, end)) = pattern.find(rest) {
        if out.len() + start + replacement.len() > MAX_VALUE {
            return Err(ShellPatternError::ResultTooLong);
        }
        out.push_str(&rest[..start]);
        out.push_str(replacement);
        rest = &rest[end..];
        // A pattern without characters matches in front of each of them, and at the end.
        if start == end {
            let Some(next) = rest.chars().next() else {
                break;
            };
            out.push(next);
            rest = &rest[next.len_utf8()..];
        } else if rest.is_empty() {
            break;
        }
        if !all {
            break;
        }
    }
    out.push_str(rest);
    Ok(out)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ShellPatternPiece {
    Run,
    Any,
    Literal(char),
}

fn pieces(pattern: &str) -> Result<Vec<ShellPatternPiece>, ShellPatternError> {
    let mut pieces = Vec::new();
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        if pieces.len() == MAX_PATTERN {
            return Err(ShellPatternError::TooLong);
        }
        pieces.push(match character {
            '*' => ShellPatternPiece::Run,
            '?' => ShellPatternPiece::Any,
            '\\' => match characters.next() {
                // The delimiters of the substitution may be escaped as well.
                Some(escaped @ ('*' | '?' | '\\' | '}' | '/')) => {
                    ShellPatternPiece::Literal(escaped)
                }
                Some(other) => return Err(ShellPatternError::Escape(other)),
                None => return Err(ShellPatternError::TrailingEscape),
            },
            literal => ShellPatternPiece::Literal(literal),
        });
    }
    Ok(pieces)
}

/// A pattern cut at its stars: what stands before the first one, and behind each of them.
struct ShellPattern {
    first: Segment,
    others: Vec<Segment>,
}

/// A stretch of a pattern without stars.
enum Segment {
    Text(String),
    /// `None` is any character.
    Mixed(Vec<Option<char>>),
}

impl ShellPattern {
    /// Returns a pattern that is to be looked for in `value`, unless that could take too long.
    fn new(pieces: &[ShellPatternPiece], value: &str) -> Result<Self, ShellPatternError> {
        let mut segments = pieces
            .split(|piece| *piece == ShellPatternPiece::Run)
            .map(Segment::new);
        let pattern = Self {
            first: segments.next().expect("splitting yields one part at least"),
            others: segments.collect(),
        };
        let all = std::iter::once(&pattern.first).chain(&pattern.others);
        let longest = all.map(Segment::compared).max().unwrap_or(0);
        if longest.saturating_mul(value.len()) > MAX_COMPARISONS {
            return Err(ShellPatternError::TooManyComparisons {
                pattern: longest,
                value: value.len(),
            });
        }
        Ok(pattern)
    }

    /// Returns how much of the text's start matches.
    fn prefix(&self, text: &str, extent: MatchLength) -> Option<usize> {
        let length = self.first.length_at(text)?;
        self.behind_first(text, length, extent)
    }

    /// Returns the longest match among those that start first.
    fn find(&self, text: &str) -> Option<(usize, usize)> {
        let (start, end) = self.first.find(text)?;
        // If the other segments do not fit behind this place, they do not fit behind later ones.
        Some((start, self.behind_first(text, end, MatchLength::Longest)?))
    }

    /// Returns where a match ends whose first segment ends at `end`.
    fn behind_first(&self, text: &str, mut end: usize, extent: MatchLength) -> Option<usize> {
        let Some((last, between)) = self.others.split_last() else {
            return Some(end);
        };
        for segment in between {
            end += segment.find(&text[end..])?.1;
        }
        let rest = &text[end..];
        let (_, length) = match extent {
            MatchLength::Shortest => last.find(rest),
            MatchLength::Longest => last.find_last(rest),
        }?;
        Some(end + length)
    }
}

impl Segment {
    fn new(pieces: &[ShellPatternPiece]) -> Self {
        let characters = pieces.iter().map(|piece| match piece {
            ShellPatternPiece::Literal(character) => Some(*character),
            ShellPatternPiece::Any | ShellPatternPiece::Run => None,
        });
        let text: Option<String> = characters.clone().collect();
        text.map_or_else(|| Self::Mixed(characters.collect()), Self::Text)
    }

    /// Returns how many characters may be compared at each place of a value.
    const fn compared(&self) -> usize {
        match self {
            // Searching for a text does not begin anew at each place.
            Self::Text(_) => 1,
            Self::Mixed(segment) => segment.len(),
        }
    }

    /// Returns the length of the match at the start of a text.
    fn length_at(&self, text: &str) -> Option<usize> {
        match self {
            Self::Text(segment) => text.starts_with(segment).then_some(segment.len()),
            Self::Mixed(segment) => {
                let mut characters = text.chars();
                let matches = segment.iter().all(|expected| {
                    let found = characters.next();
                    found.is_some() && (expected.is_none() || *expected == found)
                });
                matches.then(|| text.len() - characters.as_str().len())
            }
        }
    }

    /// Returns the first place in a text that matches.
    fn find(&self, text: &str) -> Option<(usize, usize)> {
        match self {
            Self::Text(segment) => {
                let start = text.find(segment)?;
                Some((start, start + segment.len()))
            }
            Self::Mixed(_) => self.first_of(text, text.char_indices()),
        }
    }

    /// Returns the last place in a text that matches.
    fn find_last(&self, text: &str) -> Option<(usize, usize)> {
        match self {
            Self::Text(segment) => {
                let start = text.rfind(segment)?;
                Some((start, start + segment.len()))
            }
            Self::Mixed(_) => self.first_of(text, text.char_indices().rev()),
        }
    }

    fn first_of(
        &self,
        text: &str,
        mut places: impl Iterator<Item = (usize, char)>,
    ) -> Option<(usize, usize)> {
        places.find_map(|(start, _)| Some((start, start + self.length_at(&text[start..])?)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn df_050_stripping() {
        #[track_caller]
        fn check(
            value: &str,
            pattern: &str,
            end: StrippedEnd,
            extent: MatchLength,
            expected: &str,
        ) {
            assert_eq!(strip(value, pattern, end, extent).unwrap(), expected);
        }
        let path = "/a/b/c.tar.gz";
        check(
            path,
            "*/",
            StrippedEnd::Prefix,
            MatchLength::Shortest,
            "a/b/c.tar.gz",
        );
        check(
            path,
            "*/",
            StrippedEnd::Prefix,
            MatchLength::Longest,
            "c.tar.gz",
        );
        check(
            path,
            ".*",
            StrippedEnd::Suffix,
            MatchLength::Shortest,
            "/a/b/c.tar",
        );
        check(
            path,
            ".*",
            StrippedEnd::Suffix,
            MatchLength::Longest,
            "/a/b/c",
        );
        check(
            "abc",
            "b",
            StrippedEnd::Prefix,
            MatchLength::Shortest,
            "abc",
        );
        check(
            "abc",
            "*",
            StrippedEnd::Suffix,
            MatchLength::Shortest,
            "abc",
        );
        check("abc", "*", StrippedEnd::Suffix, MatchLength::Longest, "");
        check("aé", "?", StrippedEnd::Suffix, MatchLength::Shortest, "a");
        check(
            "a*b",
            "a\\*",
            StrippedEnd::Prefix,
            MatchLength::Shortest,
            "b",
        );
        check(
            "a\nb",
            "a?",
            StrippedEnd::Prefix,
            MatchLength::Shortest,
            "b",
        );
    }

    #[test]
    fn replacing_takes_the_longest_match() {
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
        check("aé", "", "-", true, "-a-é-");
        check("aé", "", "-", false, "-aé");
        check("aé", "*", "-", true, "-");
        check("", "*", "-", true, "-");
    }

    /// Translates a pattern into one of the `regex` crate.
    fn expression(pattern: &str, extent: MatchLength, anchors: (&str, &str)) -> regex::Regex {
        let mut text = format!("(?s){}", anchors.0);
        for piece in pieces(pattern).unwrap() {
            match piece {
                ShellPatternPiece::Run if extent == MatchLength::Shortest => text.push_str(".*?"),
                ShellPatternPiece::Run => text.push_str(".*"),
                ShellPatternPiece::Any => text.push('.'),
                ShellPatternPiece::Literal(literal) => {
                    text.push_str(&regex::escape(&literal.to_string()));
                }
            }
        }
        regex::Regex::new(&(text + anchors.1)).unwrap()
    }

    proptest! {
        #[test]
        fn agrees_with_regular_expressions(pattern in "[abé*?\n]{0,6}", value in "[abé\n]{0,9}") {
            for all in [false, true] {
                let found = replace(&value, &pattern, "$x", all).unwrap();
                let limit = usize::from(!all);
                let expression = expression(&pattern, MatchLength::Longest, ("", ""));
                let expected = expression.replacen(&value, limit, regex::NoExpand("$x"));
                prop_assert_eq!(found, expected);
            }
            for extent in [MatchLength::Shortest, MatchLength::Longest] {
                let found = strip(&value, &pattern, StrippedEnd::Prefix, extent).unwrap();
                let expected = expression(&pattern, extent, ("^", "")).replace(&value, "").into_owned();
                prop_assert_eq!(found, expected);
                // Searches run from the left, so the shortest suffix is tried from the right.
                let mut starts: Vec<_> = value.char_indices().map(|(start, _)| start).collect();
                starts.push(value.len());
                if extent == MatchLength::Shortest {
                    starts.reverse();
                }
                let whole = expression(&pattern, extent, ("^", "$"));
                let start = starts.into_iter().find(|start| whole.is_match(&value[*start..]));
                let expected = &value[..start.unwrap_or(value.len())];
                prop_assert_eq!(strip(&value, &pattern, StrippedEnd::Suffix, extent).unwrap(), expected);
            }
        }
    }

    #[test]
    fn malformed_patterns_are_refused() {
        assert_eq!(pieces("a\\b").err(), Some(ShellPatternError::Escape('b')));
        assert_eq!(pieces("a\\").err(), Some(ShellPatternError::TrailingEscape));
        let longest = "é".repeat(MAX_PATTERN);
        assert_eq!(replace(&longest, &longest, "x", true).unwrap(), "x");
        assert_eq!(
            replace("", &(longest + "*"), "", true),
            Err(ShellPatternError::TooLong)
        );
    }

    #[test]
    fn patterns_that_take_too_long_are_refused() {
        let value = "x".repeat(1 << 20);
        let pattern = "x?".repeat(100);
        let refused = |pattern: &str| {
            let error = ShellPatternError::TooManyComparisons {
                pattern: 201,
                value: 1 << 20,
            };
            assert_eq!(replace(&value, pattern, "", true), Err(error));
            for end in [StrippedEnd::Prefix, StrippedEnd::Suffix] {
                let stripped = strip(&value, pattern, end, MatchLength::Longest);
                assert_eq!(stripped, Err(error));
            }
        };
        refused(&format!("{pattern}y"));
        refused(&format!("*x*{pattern}y*"));
        // Without ? nothing is compared at each place, and with little of it not much.
        assert!(replace(&value, &"x".repeat(4000), "", true).is_ok());
        assert!(replace(&value, "x?x?y", "", true).is_ok());
    }
}
