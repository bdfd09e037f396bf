//! One pattern of an ignore file, of `--exclude` or of `--parents`, and the paths that it matches.
//!
//! The meaning of `**` follows moby/patternmatcher, measured rather than documented: a leading one
//! makes the rest a plain suffix, a trailing one a plain prefix, and one in between stands for
//! directories with their slash. Two oddities are not reproduced: `[*]` is a class with a star in
//! it, and an escaped letter is that letter, not a class of the regular expression language.

use crate::glob::{BadPattern, Glob, GlobToken, token};

/// The common forms are compared as strings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `a/b`
    Exact(String),
    /// `a/**`: everything that starts so.
    Prefix(String),
    /// `**a`, `**/*.a`: everything that ends so.
    Suffix(String),
    /// `**/a`: this name at any depth.
    Name(String),
    /// `*.a`: at the top only.
    TopSuffix(String),
    /// Anything else; starts with the text before the first wildcard, ends with that behind the
    /// last.
    General {
        prefix: String,
        suffix: String,
        glob: Glob,
    },
}

impl Shape {
    pub(crate) fn parse(pattern: &str) -> Result<Self, BadPattern> {
        // The pattern must be one of Go's before `**` gets its meaning.
        Glob::parse(pattern)?;
        let mut tokens = Vec::new();
        let mut plain = true;
        let mut rest = pattern.chars();
        let mut leading = false;
        while let Some(character) = rest.next() {
            if character == '*' && rest.as_str().starts_with('*') {
                rest.next();
                if rest.as_str().starts_with('/') {
                    rest.next();
                }
                let first = tokens.is_empty();
                if !rest.as_str().is_empty() {
                    // Any number of directories, and any number more, are any number.
                    if tokens.last() != Some(&GlobToken::InDirectory) {
                        tokens.extend([GlobToken::Directories, GlobToken::InDirectory]);
                    }
                } else if plain && !first {
                    return Ok(Self::Prefix(literal(&tokens)));
                } else {
                    tokens.push(GlobToken::Rest);
                }
                leading |= first;
                plain = false;
            } else {
                plain &= !matches!(character, '*' | '?' | '[' | '\\');
                tokens.push(token(character, &mut rest)?);
            }
        }
        if plain {
            return Ok(Self::Exact(pattern.to_owned()));
        }
        if leading && let Some(shape) = Self::with_leading_double_star(pattern, &tokens) {
            return Ok(shape);
        }
        if let [GlobToken::Star, suffix @ ..] = tokens.as_slice()
            && is_literal(suffix)
            && !suffix.contains(&GlobToken::Literal('/'))
        {
            return Ok(Self::TopSuffix(literal(suffix)));
        }
        let is_wild = |token: &GlobToken| !matches!(token, GlobToken::Literal(_));
        let first = tokens.iter().position(is_wild).unwrap_or(tokens.len());
        let behind_last = tokens
            .iter()
            .rposition(is_wild)
            .map_or(0, |index| index + 1);
        Ok(Self::General {
            prefix: literal(&tokens[..first]),
            suffix: literal(&tokens[behind_last..]),
            glob: Glob::new(tokens),
        })
    }

    /// `**` and something plain behind it is a test of the path's end.
    fn with_leading_double_star(pattern: &str, tokens: &[GlobToken]) -> Option<Self> {
        match tokens {
            [GlobToken::Rest] => Some(Self::Suffix(String::new())),
            [
                GlobToken::Directories,
                GlobToken::InDirectory,
                GlobToken::Star,
                suffix @ ..,
            ] if is_literal(suffix) && !suffix.contains(&GlobToken::Literal('/')) => {
                Some(Self::Suffix(literal(suffix)))
            }
            [GlobToken::Directories, GlobToken::InDirectory, suffix @ ..] if is_literal(suffix) => {
                // An escape makes the original a regular expression, with components after all.
                if pattern.contains('\\') {
                    return None;
                }
                let name = literal(suffix);
                Some(if pattern.starts_with("**/") {
                    Self::Name(name)
                } else {
                    Self::Suffix(name)
                })
            }
            _ => None,
        }
    }

    /// Returns whether it matches this path, whatever is above.
    pub(crate) fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(text) => path == text,
            Self::Prefix(prefix) => path.starts_with(prefix),
            Self::Suffix(suffix) => path.ends_with(suffix),
            Self::Name(name) => path
                .strip_suffix(name.as_str())
                .is_some_and(|before| before.is_empty() || before.ends_with('/')),
            Self::TopSuffix(suffix) => path.ends_with(suffix) && !path.contains('/'),
            Self::General {
                prefix,
                suffix,
                glob,
            } => path.starts_with(prefix) && path.ends_with(suffix) && glob.matches(path),
        }
    }

    /// Returns whether a path that starts with `directory` (and its slash) may match.
    pub(crate) fn may_match_below(&self, directory: &str) -> bool {
        match self {
            Self::Exact(text) => text.starts_with(directory),
            Self::Prefix(prefix) => prefix.starts_with(directory) || directory.starts_with(prefix),
            Self::Suffix(_) | Self::Name(_) => true,
            Self::TopSuffix(_) => false,
            Self::General { glob, .. } => glob.may_continue(directory),
        }
    }
}

fn is_literal(tokens: &[GlobToken]) -> bool {
    tokens
        .iter()
        .all(|token| matches!(token, GlobToken::Literal(_)))
}

fn literal(tokens: &[GlobToken]) -> String {
    tokens
        .iter()
        .filter_map(|token| match token {
            GlobToken::Literal(character) => Some(*character),
            _ => None,
        })
        .collect()
}
