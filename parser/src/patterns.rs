//! Patterns of paths in order: of ignore files, of `--exclude`, of `--parents`.
//!
//! A pattern that matches a directory matches everything below it, and the last match decides; a
//! pattern with `!` in front takes out what matched so far. A walk hands down what matched from
//! each directory to what is in it, and here order counts twice, as in moby/patternmatcher: a
//! pattern that could change nothing about a directory is not tried on it, and so is not handed
//! down. `**/.env` and then `!config` leave `config/.env` matched: nothing about `config` itself
//! had to be taken out.

mod shape; // what one pattern matches

use thiserror::Error;

pub(crate) use self::shape::Shape;
use crate::clean::clean;
use crate::glob::BadPattern;
use crate::lines::MAX_LINE;

/// A pattern that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PatternError {
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

/// Patterns, each anchored at the root of a walk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathPatterns {
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    pub(crate) sense: Sense,
    /// Cleaned, without the `!`.
    pub(crate) text: String,
    pub(crate) shape: Shape,
}

/// The effect of a pattern on the paths that it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sense {
    Matched,
    /// `!`
    NotMatched,
}

/// Matches that a directory hands down to its entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MatchState {
    /// Relative to the root, without a slash at the end; the root is empty.
    path: String,
    /// The patterns that matched the directory or one above it when they were tried.
    handed_down: PatternSet,
}

impl PathPatterns {
    /// Takes patterns as they stand, a leading slash included.
    ///
    /// # Errors
    /// The first pattern that cannot be used.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, PatternError> {
        let mut all = Self::default();
        for pattern in patterns {
            all.add(pattern)?;
        }
        Ok(all)
    }

    pub(crate) fn add(&mut self, pattern: &str) -> Result<(), PatternError> {
        let trimmed = pattern.trim();
        if trimmed.is_empty() {
            return Ok(());
        }
        if trimmed.len() > MAX_LINE {
            return Err(PatternError::TooLong);
        }
        let cleaned = clean(trimmed);
        let (sense, text) = match cleaned.strip_prefix('!') {
            Some("") => return Err(PatternError::LoneExclamationMark),
            Some(text) => (Sense::NotMatched, text),
            None => (Sense::Matched, cleaned.as_str()),
        };
        self.patterns.push(Pattern {
            sense,
            text: text.to_owned(),
            shape: Shape::parse(text)?,
        });
        Ok(())
    }

    pub(crate) fn list(&self) -> &[Pattern] {
        &self.patterns
    }

    /// Returns where a walk starts.
    #[must_use]
    pub fn state_for_root(&self) -> MatchState {
        MatchState {
            path: String::new(),
            handed_down: PatternSet::new(self.patterns.len()),
        }
    }

    /// Returns whether a directory's entry that has no entries itself matches.
    #[must_use]
    pub fn matches(&self, directory: &MatchState, name: &str) -> bool {
        self.try_in_order(directory, &directory.join(name), |_| {})
    }

    /// Returns whether a directory's entry matches, and the state for what is in it.
    #[must_use]
    pub fn child(&self, directory: &MatchState, name: &str) -> (bool, MatchState) {
        let path = directory.join(name);
        let mut handed_down = directory.handed_down.clone();
        let matched = self.try_in_order(directory, &path, |index| handed_down.set(index));
        (matched, MatchState { path, handed_down })
    }

    /// Tries every pattern that may change the result; tells which matched.
    fn try_in_order(
        &self,
        directory: &MatchState,
        path: &str,
        mut matching: impl FnMut(usize),
    ) -> bool {
        let mut result = Sense::NotMatched;
        for (index, pattern) in self.patterns.iter().enumerate() {
            if directory.handed_down.has(index)
                || (pattern.sense != result && pattern.shape.matches(path))
            {
                matching(index);
                result = pattern.sense;
            }
        }
        result == Sense::Matched
    }
}

impl MatchState {
    pub(crate) fn join(&self, name: &str) -> String {
        if self.path.is_empty() {
            return name.to_owned();
        }
        let mut path = String::with_capacity(self.path.len() + 1 + name.len());
        path.push_str(&self.path);
        path.push('/');
        path.push_str(name);
        path
    }

    /// Returns the directory's path relative to the root.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn has(&self, index: usize) -> bool {
        self.handed_down.has(index)
    }
}

/// One bit for each pattern.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PatternSet(Vec<u64>);

impl PatternSet {
    pub(crate) fn new(count: usize) -> Self {
        Self(vec![0; count.div_ceil(64)])
    }

    pub(crate) fn has(&self, index: usize) -> bool {
        self.0[index / 64] & (1 << (index % 64)) != 0
    }

    pub(crate) fn set(&mut self, index: usize) {
        self.0[index / 64] |= 1 << (index % 64);
    }
}

#[cfg(test)]
pub(crate) mod tests;
