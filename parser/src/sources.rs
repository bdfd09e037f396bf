//! The sources of `COPY` and `ADD`: a plain part, then components with wildcards.

use crate::clean::clean;
use crate::glob::{BadPattern, Glob, has_wildcards};

/// What `**` means as a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoubleStar {
    /// The same as `*`: exactly one component.
    OneComponent,
    /// Any number of components, none included (`--parents`).
    AnyDepth,
}

/// A source path, cleaned and confined to its root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcePattern {
    base: String,
    components: Vec<Component>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Component {
    One(Glob),
    AnyDepth,
}

impl SourcePattern {
    /// Parses a source; leading slashes and `..` stay inside the root.
    ///
    /// # Errors
    /// If a component with wildcards is malformed.
    pub fn parse(path: &str, double_star: DoubleStar) -> Result<Self, BadPattern> {
        let cleaned = clean(&format!("/{path}"));
        let parts: Vec<&str> = cleaned.split('/').filter(|part| !part.is_empty()).collect();
        let plain = parts
            .iter()
            .position(|part| has_wildcards(part))
            .unwrap_or(parts.len());
        let components = parts[plain..]
            .iter()
            .map(|part| match (*part, double_star) {
                ("**", DoubleStar::AnyDepth) => Ok(Component::AnyDepth),
                _ => Glob::parse(part).map(Component::One),
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            base: parts[..plain].join("/"),
            components,
        })
    }

    /// Returns the part without wildcards, without slashes at its ends; the root is empty.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Returns whether there are no wildcards at all: the base is the one path meant.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.components.is_empty()
    }

    /// Returns whether a path below the base is meant. A match is not searched for further ones.
    #[must_use]
    pub fn matches(&self, below_base: &str) -> bool {
        self.reached(below_base)[self.components.len()]
    }

    /// Returns whether something below a directory below the base may be meant.
    #[must_use]
    pub fn may_match_below(&self, below_base: &str) -> bool {
        self.reached(below_base)[..self.components.len()].contains(&true)
    }

    /// Returns which components the names of a path may lead to.
    fn reached(&self, path: &str) -> Vec<bool> {
        let mut places = vec![false; self.components.len() + 1];
        places[0] = true;
        self.skip_any_depth(&mut places);
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let mut next = vec![false; places.len()];
            for (index, component) in self.components.iter().enumerate() {
                match component {
                    _ if !places[index] => {}
                    Component::One(glob) => next[index + 1] |= glob.matches(name),
                    Component::AnyDepth => next[index] = true,
                }
            }
            self.skip_any_depth(&mut next);
            places = next;
        }
        places
    }

    fn skip_any_depth(&self, places: &mut [bool]) {
        for (index, component) in self.components.iter().enumerate() {
            if places[index] && *component == Component::AnyDepth {
                places[index + 1] = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(path: &str, double_star: DoubleStar) -> SourcePattern {
        SourcePattern::parse(path, double_star).unwrap()
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
            let source = parse(path, DoubleStar::OneComponent);
            assert!(source.is_literal());
            assert_eq!(source.base(), base, "{path}");
        }
    }

    #[test]
    fn df_137_double_star_is_one_component() {
        let source = parse("src/**/one.go", DoubleStar::OneComponent);
        assert_eq!(source.base(), "src");
        assert!(source.matches("a/one.go"));
        assert!(!source.matches("one.go"));
        assert!(!source.matches("a/b/one.go"));
        assert!(source.may_match_below("a"));
        assert!(!source.may_match_below("a/b"));
    }

    #[test]
    fn df_138_double_star_at_any_depth() {
        let source = parse("p/**/*.go", DoubleStar::AnyDepth);
        for path in ["a.go", "x/a.go", "x/y/a.go"] {
            assert!(source.matches(path), "{path}");
        }
        assert!(!source.matches("x/a.c"));
        assert!(source.may_match_below("x/y"));
        let all = parse("**", DoubleStar::AnyDepth);
        assert!(all.matches("") && all.matches("a/b"));
    }

    #[test]
    fn wildcards_stay_in_their_component() {
        let source = parse("a*/[bc]?/x", DoubleStar::OneComponent);
        assert!(source.matches("ab/cd/x"));
        assert!(!source.matches("ab/cd"));
        assert!(!source.matches("ab/cd/x/y"));
        assert!(parse("arr[[]0].txt", DoubleStar::OneComponent).matches("arr[0].txt"));
        assert!(SourcePattern::parse("a/[", DoubleStar::OneComponent).is_err());
    }
}
