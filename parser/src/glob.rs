//! Path patterns: `*`, `?`, `[a-z]`, and what `**` means where it means something.
//!
//! A pattern becomes a list of tokens, and matching follows every way through the list at once, so
//! no pattern takes longer than its length times the name's. One set of tokens serves three
//! dialects: Go's `filepath.Match`, ignore files, and the sources of `COPY`.

use thiserror::Error;

/// A pattern with a class that is not closed, an empty range, or a trailing escape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("syntax error in pattern")]
pub struct BadPattern;

/// Returns whether the whole of `name` matches `pattern`, as Go's `filepath.Match` decides.
///
/// `*` and `?` match anything but a slash, and `**` is no more than `*`.
///
/// # Errors
/// If the pattern is malformed, whatever the name.
pub fn glob_match(pattern: &str, name: &str) -> Result<bool, BadPattern> {
    Ok(Glob::parse(pattern)?.matches(name))
}

/// Returns whether a text has a character that makes it a pattern.
#[must_use]
pub fn has_wildcards(text: &str) -> bool {
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '*' | '?' | '[' => return true,
            '\\' => {
                characters.next();
            }
            _ => {}
        }
    }
    false
}

/// A step of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// This character.
    Literal(char),
    /// Any character but a slash.
    Any,
    /// Any run without a slash.
    Star,
    /// A character of a set.
    Class {
        negated: bool,
        ranges: Box<[(char, char)]>,
    },
    /// Nothing, or whole directories with the slash behind them; always followed by `InDirectory`.
    Directories,
    /// Inside those directories.
    InDirectory,
    /// Any run.
    Rest,
}

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob {
    tokens: Vec<Token>,
}

impl Glob {
    pub(crate) fn new(tokens: Vec<Token>) -> Self {
        Self { tokens }
    }

    /// Parses a pattern of Go's `filepath.Match`.
    pub(crate) fn parse(pattern: &str) -> Result<Self, BadPattern> {
        let mut tokens = Vec::new();
        let mut rest = pattern.chars();
        while let Some(character) = rest.next() {
            tokens.push(token(character, &mut rest)?);
        }
        Ok(Self { tokens })
    }

    /// Returns whether the whole text matches.
    pub(crate) fn matches(&self, text: &str) -> bool {
        self.run(text)[self.tokens.len()]
    }

    /// Returns whether some text that starts with `prefix` may match.
    pub(crate) fn may_continue(&self, prefix: &str) -> bool {
        self.run(prefix).contains(&true)
    }

    /// Returns the places in the pattern that reading `text` may lead to.
    fn run(&self, text: &str) -> Vec<bool> {
        let mut places = vec![false; self.tokens.len() + 1];
        let mut next = places.clone();
        places[0] = true;
        self.skip_optional(&mut places);
        for character in text.chars() {
            next.fill(false);
            for (index, token) in self.tokens.iter().enumerate() {
                if !places[index] {
                    continue;
                }
                match token {
                    Token::Literal(literal) => next[index + 1] |= *literal == character,
                    Token::Any => next[index + 1] |= character != '/',
                    Token::Class { negated, ranges } => {
                        let member = ranges.iter().any(|(a, b)| (*a..=*b).contains(&character));
                        next[index + 1] |= member != *negated;
                    }
                    Token::Star => next[index] |= character != '/',
                    Token::Rest => next[index] = true,
                    Token::Directories => {}
                    Token::InDirectory => {
                        next[index] = true;
                        next[index + 1] |= character == '/';
                    }
                }
            }
            self.skip_optional(&mut next);
            std::mem::swap(&mut places, &mut next);
            if !places.contains(&true) {
                break;
            }
        }
        places
    }

    /// Adds the places behind tokens that may match nothing.
    fn skip_optional(&self, places: &mut [bool]) {
        for (index, token) in self.tokens.iter().enumerate() {
            if !places[index] {
                continue;
            }
            match token {
                Token::Star | Token::Rest => places[index + 1] = true,
                Token::Directories => {
                    places[index + 1] = true;
                    places[index + 2] = true;
                }
                Token::Literal(_) | Token::Any | Token::Class { .. } | Token::InDirectory => {}
            }
        }
    }
}

/// Returns the token that starts with `character`.
pub(crate) fn token(character: char, rest: &mut std::str::Chars<'_>) -> Result<Token, BadPattern> {
    Ok(match character {
        '*' => Token::Star,
        '?' => Token::Any,
        '[' => class(rest)?,
        '\\' => Token::Literal(rest.next().ok_or(BadPattern)?),
        literal => Token::Literal(literal),
    })
}

fn class(rest: &mut std::str::Chars<'_>) -> Result<Token, BadPattern> {
    let negated = rest.as_str().starts_with('^');
    if negated {
        rest.next();
    }
    let mut ranges = Vec::new();
    loop {
        let character = rest.next().ok_or(BadPattern)?;
        if character == ']' && !ranges.is_empty() {
            return Ok(Token::Class {
                negated,
                ranges: ranges.into(),
            });
        }
        let low = member(character, rest)?;
        let mut high = low;
        if rest.as_str().starts_with('-') {
            rest.next();
            high = member(rest.next().ok_or(BadPattern)?, rest)?;
        }
        ranges.push((low, high));
    }
}

fn member(character: char, rest: &mut std::str::Chars<'_>) -> Result<char, BadPattern> {
    match character {
        '-' | ']' => Err(BadPattern),
        '\\' => rest.next().ok_or(BadPattern),
        other => Ok(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_match() {
        #[track_caller]
        fn check(pattern: &str, name: &str, expected: bool) {
            assert_eq!(glob_match(pattern, name), Ok(expected), "{pattern} {name}");
        }
        check("abc", "abc", true);
        check("*", "abc", true);
        check("*", "a/b", false);
        check("*c", "abc", true);
        check("a*/b", "abc/b", true);
        check("a*/b", "a/c/b", false);
        check("a*b*c*d*e*/f", "axbxcxdxexxx/f", true);
        check("a*b?c*x", "abxbbxdbxebxczzx", true);
        check("a*b?c*x", "abxbbxdbxebxczzy", false);
        check("ab[b-d]", "abc", true);
        check("ab[^e-g]", "abc", true);
        check("a\\*b", "a*b", true);
        check("a?b", "a☺b", true);
        check("a[^a]b", "a☺b", true);
        check("a?b", "a/b", false);
        check("[\\]a]", "]", true);
        check("arr[[]0].txt", "arr[0].txt", true);
        check("**", "a/b", false);
        check("", "", true);
        check("[z-a]", "m", false);
        for bad in [
            "[]a]", "[-]", "[x-]", "[-x]", "[a-b-c]", "[", "[^", "[^bc", "a[", "\\", "[a\\",
        ] {
            assert_eq!(glob_match(bad, "x"), Err(BadPattern), "{bad}");
        }
    }

    #[test]
    fn no_pattern_is_slow() {
        let pattern = "*a".repeat(500);
        assert_eq!(glob_match(&pattern, &"a".repeat(499)), Ok(false));
        assert_eq!(glob_match(&pattern, &"a".repeat(2_000)), Ok(true));
    }

    #[test]
    fn wildcards() {
        for text in ["*", "a?", "[x]"] {
            assert!(has_wildcards(text), "{text}");
        }
        for text in ["", "abc", "a\\*b", "\\["] {
            assert!(!has_wildcards(text), "{text}");
        }
    }
}
