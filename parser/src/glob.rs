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
pub(crate) enum GlobToken {
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
    tokens: Vec<GlobToken>,
}

impl Glob {
    pub(crate) fn new(tokens: Vec<GlobToken>) -> Self {
        Self { tokens }
    }

    /// Parses a pattern of Go's `filepath.Match`.
    pub(crate) fn parse(pattern: &str) -> Result<Self, BadPattern> {
        let mut tokens = Vec::new();
        let mut rest = pattern.chars();
        while let Some(character) = rest.next() {
            tokens.push(token(character, &mut rest)?);
        }
        // Several stars are one.
        tokens.dedup_by(|a, b| (&*a, &*b) == (&GlobToken::Star, &GlobToken::Star));
        Ok(Self { tokens })
    }

    /// Returns whether the whole text matches.
    pub(crate) fn matches(&self, text: &str) -> bool {
        self.run(text).contains(self.tokens.len())
    }

    /// Returns whether some text that starts with `prefix` may match.
    pub(crate) fn may_continue(&self, prefix: &str) -> bool {
        !self.run(prefix).is_empty()
    }

    /// Returns the places in the pattern that reading `text` may lead to.
    fn run(&self, text: &str) -> Places {
        let mut places = Places::new(self.tokens.len());
        let mut next = places.clone();
        self.reach(&mut places, 0);
        for character in text.chars() {
            next.clear();
            for place in places.iter() {
                // The place behind the last token leads nowhere.
                let Some(token) = self.tokens.get(place) else {
                    continue;
                };
                let (stays, moves) = match token {
                    GlobToken::Literal(literal) => (false, *literal == character),
                    GlobToken::Any => (false, character != '/'),
                    GlobToken::Class { negated, ranges } => {
                        let member = ranges.iter().any(|(a, b)| (*a..=*b).contains(&character));
                        (false, member != *negated)
                    }
                    GlobToken::Star => (character != '/', false),
                    GlobToken::Rest => (true, false),
                    GlobToken::Directories => (false, false),
                    GlobToken::InDirectory => (true, character == '/'),
                };
                if stays {
                    self.reach(&mut next, place);
                }
                if moves {
                    self.reach(&mut next, place + 1);
                }
            }
            std::mem::swap(&mut places, &mut next);
            if places.is_empty() {
                break;
            }
        }
        places
    }

    /// Adds a place, and those behind it that tokens matching nothing lead to.
    fn reach(&self, places: &mut Places, mut place: usize) {
        // A place comes with those behind it: without this, a run of stars would be followed from
        // each of them.
        while !places.contains(place) {
            places.insert(place);
            match self.tokens.get(place) {
                Some(GlobToken::Star | GlobToken::Rest) => place += 1,
                Some(GlobToken::Directories) => {
                    places.insert(place + 1);
                    place += 2;
                }
                _ => return,
            }
        }
    }
}

/// A set of places in a pattern: 0 is its start, the number of tokens its end.
#[derive(Clone, Debug)]
struct Places {
    bits: Vec<u64>,
}

impl Places {
    fn new(last: usize) -> Self {
        Self {
            bits: vec![0; last / 64 + 1],
        }
    }

    fn insert(&mut self, place: usize) {
        self.bits[place / 64] |= 1 << (place % 64);
    }

    fn contains(&self, place: usize) -> bool {
        self.bits[place / 64] & (1 << (place % 64)) != 0
    }

    fn is_empty(&self) -> bool {
        self.bits.iter().all(|word| *word == 0)
    }

    fn clear(&mut self) {
        self.bits.fill(0);
    }

    fn iter(&self) -> impl Iterator<Item = usize> {
        self.bits.iter().enumerate().flat_map(|(index, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                let bit = (rest != 0).then(|| rest.trailing_zeros() as usize)?;
                rest &= rest - 1;
                Some(index * 64 + bit)
            })
        })
    }
}

/// Returns the token that starts with `character`.
pub(crate) fn token(
    character: char,
    rest: &mut std::str::Chars<'_>,
) -> Result<GlobToken, BadPattern> {
    Ok(match character {
        '*' => GlobToken::Star,
        '?' => GlobToken::Any,
        '[' => class(rest)?,
        '\\' => GlobToken::Literal(rest.next().ok_or(BadPattern)?),
        literal => GlobToken::Literal(literal),
    })
}

fn class(rest: &mut std::str::Chars<'_>) -> Result<GlobToken, BadPattern> {
    let negated = rest.as_str().starts_with('^');
    if negated {
        rest.next();
    }
    let mut ranges = Vec::new();
    loop {
        let character = rest.next().ok_or(BadPattern)?;
        if character == ']' && !ranges.is_empty() {
            return Ok(GlobToken::Class {
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
    fn patterns_match_as_in_go() {
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
        let stars = "*".repeat(100_000);
        assert_eq!(glob_match(&stars, &"a".repeat(4_096)), Ok(true));
    }

    #[test]
    fn wildcards_are_told_from_plain_names() {
        for text in ["*", "a?", "[x]"] {
            assert!(has_wildcards(text), "{text}");
        }
        for text in ["", "abc", "a\\*b", "\\["] {
            assert!(!has_wildcards(text), "{text}");
        }
    }
}
