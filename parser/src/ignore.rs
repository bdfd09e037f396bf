//! `.dockerignore`: which paths of a context do not exist for the build.
//!
//! The rules are those of BuildKit's client, which walks the context and sends what its patterns
//! leave. A file has to pass twice there: when the walk meets it ([`PathPatterns`]), and when it is
//! opened, where every directory above it is tried again with every pattern and the last match
//! decides. What passes the first time only arrives without its content; here it is ignored.

use crate::clean::clean;
use crate::diagnostic::{Diagnostic, MAX_ERRORS, Origin};
use crate::lines::Lines;
use crate::patterns::{MatchState, PathPatterns, Pattern, PatternError, PatternSet, Sense};
use crate::span::Span;

/// The patterns of an ignore file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IgnoreRules {
    patterns: PathPatterns,
    exceptions: Exceptions,
}

/// The patterns with a `!`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Exceptions {
    /// None but the last component of each has wildcards: the directories that they name. Only
    /// these and those above them are entered by the walk if they are ignored.
    Directories(Vec<String>),
    /// They may be anywhere.
    Anywhere,
}

/// The verdict of the rules on a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is there.
    Included,
    /// It is not there.
    Ignored,
}

/// Matches of a directory, kept during a walk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WalkState {
    walk: MatchState,
    /// The patterns that match the directory or one above it. Without exceptions these are of no
    /// interest, and none is set.
    matching: PatternSet,
}

impl Default for Exceptions {
    fn default() -> Self {
        Self::Directories(Vec::new())
    }
}

impl IgnoreRules {
    /// Reads an ignore file. Lines that cannot be used are reported and skipped; after very many
    /// of them the rest is not looked at.
    #[must_use]
    pub fn parse(text: &[u8]) -> (Self, Vec<Diagnostic>) {
        let mut patterns = PathPatterns::default();
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
            if let Err(error) = patterns.add(&from_root(trimmed)) {
                let message = match error {
                    PatternError::LoneExclamationMark => error.to_string(),
                    PatternError::TooLong | PatternError::Pattern(_) => {
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
        let exceptions = Exceptions::of(patterns.list());
        let rules = Self {
            patterns,
            exceptions,
        };
        (rules, diagnostics)
    }

    /// Returns whether any pattern re-includes (starts with `!`).
    #[must_use]
    pub fn reincludes(&self) -> bool {
        !matches!(&self.exceptions, Exceptions::Directories(names) if names.is_empty())
    }

    /// Returns whether the context does not have a path relative to its root. A walk should use
    /// [`Self::child`], which does not look at the parents again.
    #[must_use]
    pub fn is_ignored(&self, path: &str) -> bool {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut state = self.state_for_root();
        for name in directory.split('/').filter(|name| !name.is_empty()) {
            let (verdict, below) = self.child(&state, name);
            if verdict == Verdict::Ignored && !self.may_reinclude_below(&below) {
                return true;
            }
            state = below;
        }
        self.verdict(&state, name) == Verdict::Ignored
    }

    /// Returns where a walk starts. The root itself is never ignored.
    #[must_use]
    pub fn state_for_root(&self) -> WalkState {
        WalkState {
            walk: self.patterns.state_for_root(),
            matching: PatternSet::new(self.patterns.list().len()),
        }
    }

    /// Returns what happens to a directory's entry that has no entries itself.
    #[must_use]
    pub fn verdict(&self, directory: &WalkState, name: &str) -> Verdict {
        let is_ignored = self.patterns.matches(&directory.walk, name)
            // Without exceptions both ways are one.
            || (self.reincludes() && self.is_withheld(directory, name));
        Verdict::of(is_ignored)
    }

    /// Returns what happens to a directory, and the state for the entries below it.
    #[must_use]
    pub fn child(&self, directory: &WalkState, name: &str) -> (Verdict, WalkState) {
        let (is_ignored, walk) = self.patterns.child(&directory.walk, name);
        let mut matching = directory.matching.clone();
        if self.reincludes() {
            for (index, pattern) in self.patterns.list().iter().enumerate() {
                if !matching.has(index) && pattern.shape.matches(walk.path()) {
                    matching.set(index);
                }
            }
        }
        (Verdict::of(is_ignored), WalkState { walk, matching })
    }

    /// Returns whether a file is not opened: the last pattern that matches it or a directory above
    /// it has no `!`.
    fn is_withheld(&self, directory: &WalkState, name: &str) -> bool {
        let path = directory.walk.join(name);
        let mut patterns = self.patterns.list().iter().enumerate().rev();
        patterns
            .find(|(index, pattern)| directory.matching.has(*index) || pattern.shape.matches(&path))
            .is_some_and(|(_, pattern)| pattern.sense == Sense::Matched)
    }

    /// Returns whether something below an ignored directory may be included after all. If not, a
    /// walk need not enter it.
    #[must_use]
    pub fn may_reinclude_below(&self, directory: &WalkState) -> bool {
        let below = format!("{}/", directory.walk.path());
        if !self.exceptions.may_be_below(&below) {
            return false;
        }
        for (index, pattern) in self.patterns.list().iter().enumerate().rev() {
            // Below here the last pattern that was handed down beats all before it.
            if directory.walk.has(index) {
                return pattern.sense == Sense::NotMatched;
            }
            if pattern.sense == Sense::NotMatched && pattern.shape.may_match_below(&below) {
                return true;
            }
        }
        // Nothing matched: the directory is not ignored at all.
        true
    }
}

impl Verdict {
    fn of(is_ignored: bool) -> Self {
        if is_ignored {
            Self::Ignored
        } else {
            Self::Included
        }
    }
}

impl Exceptions {
    fn of(patterns: &[Pattern]) -> Self {
        let exceptions = patterns
            .iter()
            .filter(|pattern| pattern.sense == Sense::NotMatched);
        let directory = |pattern: &Pattern| {
            let text = pattern.text.strip_suffix("/**").unwrap_or(&pattern.text);
            let text = text.strip_suffix("/*").unwrap_or(text);
            let is_plain = !text.contains(['*', '[', ']', '?', '^', '\\']);
            is_plain.then(|| format!("{text}/"))
        };
        match exceptions.map(directory).collect() {
            Some(directories) => Self::Directories(directories),
            None => Self::Anywhere,
        }
    }

    /// Says whether a walk enters a directory, given with its slash, that is ignored.
    fn may_be_below(&self, directory: &str) -> bool {
        match self {
            Self::Directories(names) => names.iter().any(|name| name.starts_with(directory)),
            Self::Anywhere => true,
        }
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

#[cfg(test)]
mod tests;
