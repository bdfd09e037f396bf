//! The sources of `COPY` and `ADD`: a plain part, then components with wildcards.

use crate::clean::clean;
use crate::glob::{BadPattern, Glob, has_wildcards};

/// A source path, cleaned and confined to its root.
///
/// `**` is no more than `*` here: exactly one component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcePattern {
    base: String,
    components: Vec<Glob>,
}

impl SourcePattern {
    /// Parses a source; leading slashes and `..` stay inside the root.
    ///
    /// # Errors
    /// If a component with wildcards is malformed.
    pub fn parse(path: &str) -> Result<Self, BadPattern> {
        let cleaned = clean(&format!("/{path}"));
        let parts: Vec<&str> = cleaned.split('/').filter(|part| !part.is_empty()).collect();
        let plain = parts
            .iter()
            .position(|part| has_wildcards(part))
            .unwrap_or(parts.len());
        let components = parts[plain..].iter().map(|part| Glob::parse(part));
        Ok(Self {
            base: parts[..plain].join("/"),
            components: components.collect::<Result<_, _>>()?,
        })
    }

    /// Takes a path in which no character has a meaning of its own.
    #[must_use]
    pub fn literal(path: &str) -> Self {
        Self {
            base: clean(&format!("/{path}"))[1..].to_owned(),
            components: Vec::new(),
        }
    }

    /// Returns the part without wildcards, without slashes at its ends; the root is empty.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Returns how many components there are from the first wildcard on. Without any, the base is
    /// the one path meant.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.components.len()
    }

    /// Returns whether a name so many directories below the base matches its component.
    #[must_use]
    pub fn matches_at(&self, depth: usize, name: &str) -> bool {
        self.components
            .get(depth)
            .is_some_and(|glob| glob.matches(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, below_base: &str) -> bool {
        let pattern = SourcePattern::parse(pattern).unwrap();
        let names: Vec<&str> = below_base.split('/').collect();
        let mut names_at = names.iter().enumerate();
        names.len() == pattern.depth()
            && names_at.all(|(depth, name)| pattern.matches_at(depth, name))
    }

    #[test]
    fn df_121_paths_stay_in_the_root() {
        for (path, base) in [
            ("../../b.txt", "b.txt"),
            ("/a/", "a"),
            ("a/.", "a"),
            (".", ""),
            ("a/../..", ""),
        ] {
            let source = SourcePattern::parse(path).unwrap();
            assert_eq!((source.base(), source.depth()), (base, 0), "{path}");
        }
    }

    #[test]
    fn df_137_double_star_is_one_component() {
        assert_eq!(SourcePattern::parse("src/**/one.go").unwrap().base(), "src");
        assert!(matches("src/**/one.go", "a/one.go"));
        assert!(!matches("src/**/one.go", "one.go"));
        assert!(!matches("src/**/one.go", "a/b/one.go"));
    }

    #[test]
    fn wildcards_stay_in_their_component() {
        assert!(matches("a*/[bc]?/x", "ab/cd/x"));
        assert!(!matches("a*/[bc]?/x", "ab/cd"));
        assert!(!matches("a*/[bc]?/x", "ab/cd/x/y"));
        assert!(matches("arr[[]0].txt", "arr[0].txt"));
        assert!(SourcePattern::parse("a/[").is_err());
    }
}
