//! `.dockerignore`: which paths of a context do not exist for the build.
//!
//! A pattern is tried on a path and on every directory above it, in file order, and the last one
//! that matches decides; `!` makes it re-include. So a walk carries a [`WalkState`] per directory
//! with the patterns matched so far, and each entry costs one look at its own path.
//!
//! The meaning of `**` follows moby/patternmatcher, measured rather than documented: a leading one
//! makes the rest a plain suffix, a trailing one a plain prefix, and one in between stands for
//! directories with their slash. Two oddities are not reproduced: `[*]` is a class with a star in
//! it, and an escaped letter is that letter, not a class of the regular expression language.

use thiserror::Error;

use crate::clean::clean;
use crate::diagnostic::{Diagnostic, MAX_ERRORS, Origin};
use crate::glob::{BadPattern, Glob, Token, token};
use crate::lines::{Lines, MAX_LINE};
use crate::span::Span;

/// A pattern that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum IgnoreError {
    /// A `!` with nothing behind it.
    #[error("illegal exclusion pattern: \"!\"")]
    LoneExclamationMark,
    /// A pattern longer than any line of a Dockerfile, whose matching would take its time.
    #[error("pattern has more than {MAX_LINE} bytes")]
    TooLong,
    /// A malformed pattern.
    #[error(transparent)]
    Pattern(#[from] BadPattern),
}

/// The patterns of an ignore file, or of `--exclude` flags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IgnoreRules {
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    verdict: Verdict,
    shape: Shape,
}

/// The common forms are compared as strings.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Shape {
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
    /// Anything else; starts with the text before the first wildcard, ends with that behind the last.
    General {
        prefix: String,
        suffix: String,
        glob: Glob,
    },
}

/// What the rules say about a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is there.
    Included,
    /// It is not there.
    Ignored,
}

/// What is known about a directory during a walk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WalkState {
    /// Relative to the root, without a slash at the end; the root is empty.
    path: String,
    /// One bit for each pattern that matched the directory or one above it.
    matched: Vec<u64>,
}

impl IgnoreRules {
    /// Reads an ignore file. Lines that cannot be used are reported and skipped; after very many
    /// of them the rest is not looked at.
    #[must_use]
    pub fn parse(text: &[u8]) -> (Self, Vec<Diagnostic>) {
        let mut rules = Self::default();
        let mut diagnostics = Vec::new();
        for line in Lines::new(text) {
            if diagnostics.len() == MAX_ERRORS {
                break;
            }
            let content = String::from_utf8_lossy(line.content());
            if content.starts_with('#') {
                continue;
            }
            let trimmed = content.trim();
            if let Err(error) = rules.add(&from_root(trimmed)) {
                let message = match error {
                    IgnoreError::LoneExclamationMark => error.to_string(),
                    IgnoreError::TooLong | IgnoreError::Pattern(_) => {
                        format!("failed parsing .dockerignore: {error}")
                    }
                };
                let span = Span::new(line.start, line.end());
                diagnostics.push(Diagnostic::error(
                    Origin::Lexing,
                    "ignore-pattern",
                    span,
                    message,
                ));
            }
        }
        (rules, diagnostics)
    }

    /// Takes patterns as `--exclude` gives them: anchored as they stand, a leading slash included.
    ///
    /// # Errors
    /// The first pattern that cannot be used.
    pub fn from_patterns<'a>(
        patterns: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, IgnoreError> {
        let mut rules = Self::default();
        for pattern in patterns {
            rules.add(pattern)?;
        }
        Ok(rules)
    }

    fn add(&mut self, pattern: &str) -> Result<(), IgnoreError> {
        let trimmed = pattern.trim();
        if trimmed.is_empty() {
            return Ok(());
        }
        if trimmed.len() > MAX_LINE {
            return Err(IgnoreError::TooLong);
        }
        let cleaned = clean(trimmed);
        let (verdict, text) = match cleaned.strip_prefix('!') {
            Some("") => return Err(IgnoreError::LoneExclamationMark),
            Some(text) => (Verdict::Included, text),
            None => (Verdict::Ignored, cleaned.as_str()),
        };
        self.patterns.push(Pattern {
            verdict,
            shape: Shape::parse(text)?,
        });
        Ok(())
    }

    /// Returns whether there is nothing to match.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Returns whether any pattern re-includes (starts with `!`).
    #[must_use]
    pub fn reincludes(&self) -> bool {
        self.patterns
            .iter()
            .any(|pattern| pattern.verdict == Verdict::Included)
    }

    /// Returns whether a path relative to the root is ignored, by itself or through a directory
    /// above it. A walk should use [`Self::child`], which does not look at the parents again.
    #[must_use]
    pub fn is_ignored(&self, path: &str) -> bool {
        let mut verdict = Verdict::Included;
        let mut state = self.state_for_root();
        for name in path.split('/').filter(|name| !name.is_empty()) {
            (verdict, state) = self.child(&state, name);
        }
        verdict == Verdict::Ignored
    }

    /// Returns where a walk starts. The root itself is never ignored.
    #[must_use]
    pub fn state_for_root(&self) -> WalkState {
        WalkState {
            path: String::new(),
            matched: vec![0; self.patterns.len().div_ceil(64)],
        }
    }

    /// Returns what happens to a directory's entry that has no entries itself.
    #[must_use]
    pub fn verdict(&self, directory: &WalkState, name: &str) -> Verdict {
        let path = directory.join(name);
        // Backwards, since the last match decides.
        self.patterns
            .iter()
            .enumerate()
            .rev()
            .find(|(index, pattern)| directory.has(*index) || pattern.shape.matches(&path))
            .map_or(Verdict::Included, |(_, pattern)| pattern.verdict)
    }

    /// Returns what happens to a directory's entry, and the state for the entries below it.
    #[must_use]
    pub fn child(&self, directory: &WalkState, name: &str) -> (Verdict, WalkState) {
        let mut state = WalkState {
            path: directory.join(name),
            matched: directory.matched.clone(),
        };
        let mut verdict = Verdict::Included;
        for (index, pattern) in self.patterns.iter().enumerate() {
            if !state.has(index) {
                if !pattern.shape.matches(&state.path) {
                    continue;
                }
                state.matched[index / 64] |= 1 << (index % 64);
            }
            verdict = pattern.verdict;
        }
        (verdict, state)
    }

    /// Returns whether something below an ignored directory may be included after all. If not, a
    /// walk need not enter it.
    #[must_use]
    pub fn may_reinclude_below(&self, directory: &WalkState) -> bool {
        let below = format!("{}/", directory.path);
        for (index, pattern) in self.patterns.iter().enumerate().rev() {
            // Below here the last pattern that matched the directory beats all before it.
            if directory.has(index) {
                return pattern.verdict == Verdict::Included;
            }
            if pattern.verdict == Verdict::Included && pattern.shape.may_match_below(&below) {
                return true;
            }
        }
        // Nothing matched: the directory is not ignored at all.
        true
    }
}

impl WalkState {
    fn join(&self, name: &str) -> String {
        if self.path.is_empty() {
            return name.to_owned();
        }
        let mut path = String::with_capacity(self.path.len() + 1 + name.len());
        path.push_str(&self.path);
        path.push('/');
        path.push_str(name);
        path
    }

    fn has(&self, index: usize) -> bool {
        self.matched[index / 64] & (1 << (index % 64)) != 0
    }

    /// Returns the directory's path relative to the root.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
}

/// Cleans a line's pattern and takes the slash off its front: `/a` is `a`.
fn from_root(pattern: &str) -> String {
    let (mark, path) = match pattern.strip_prefix('!') {
        Some(path) => ("!", path.trim()),
        None => ("", pattern),
    };
    if path.is_empty() {
        return mark.to_owned();
    }
    let cleaned = clean(path);
    match cleaned.strip_prefix('/') {
        Some(rest) if !rest.is_empty() => format!("{mark}{rest}"),
        _ => format!("{mark}{cleaned}"),
    }
}

impl Shape {
    fn parse(pattern: &str) -> Result<Self, BadPattern> {
        // Whatever `**` means, the pattern must be one of Go's.
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
                    if tokens.last() != Some(&Token::InDirectory) {
                        tokens.extend([Token::Directories, Token::InDirectory]);
                    }
                } else if plain && !first {
                    return Ok(Self::Prefix(literal(&tokens)));
                } else {
                    tokens.push(Token::Rest);
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
        if let [Token::Star, suffix @ ..] = tokens.as_slice()
            && is_literal(suffix)
            && !suffix.contains(&Token::Literal('/'))
        {
            return Ok(Self::TopSuffix(literal(suffix)));
        }
        let is_wild = |token: &Token| !matches!(token, Token::Literal(_));
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
    fn with_leading_double_star(pattern: &str, tokens: &[Token]) -> Option<Self> {
        match tokens {
            [Token::Rest] => Some(Self::Suffix(String::new())),
            [
                Token::Directories,
                Token::InDirectory,
                Token::Star,
                suffix @ ..,
            ] if is_literal(suffix) && !suffix.contains(&Token::Literal('/')) => {
                Some(Self::Suffix(literal(suffix)))
            }
            [Token::Directories, Token::InDirectory, suffix @ ..] if is_literal(suffix) => {
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

    fn matches(&self, path: &str) -> bool {
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
    fn may_match_below(&self, directory: &str) -> bool {
        match self {
            Self::Exact(text) => text.starts_with(directory),
            Self::Prefix(prefix) => prefix.starts_with(directory) || directory.starts_with(prefix),
            Self::Suffix(_) | Self::Name(_) => true,
            Self::TopSuffix(_) => false,
            Self::General { glob, .. } => glob.may_continue(directory),
        }
    }
}

fn is_literal(tokens: &[Token]) -> bool {
    tokens
        .iter()
        .all(|token| matches!(token, Token::Literal(_)))
}

fn literal(tokens: &[Token]) -> String {
    tokens
        .iter()
        .filter_map(|token| match token {
            Token::Literal(character) => Some(*character),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests;
