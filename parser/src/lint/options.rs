//! Which rules count: `# check=skip=…;error=…;experimental=…`.

use std::collections::HashSet;

use thiserror::Error;

use super::rules::Rule;
use crate::ast::Text;
use crate::boolean;
use crate::quote::quote;

/// Options that make no sense.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CheckOptionsError {
    /// An unknown key, or one without `=`.
    #[error("failed to parse check options: invalid check option {}", quote(.0))]
    Unknown(String),
    /// `error` with something else than a truth value.
    #[error("failed to parse check option {}: invalid syntax", quote(.0))]
    NotBoolean(String),
}

/// The value of `# check=`, of a doc comment, or of the build argument that replaces them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckOptions {
    skip: Selection,
    experimental: Selection,
    /// Whether a finding fails the build.
    pub error: bool,
}

/// Some rules, by lower-case name: unknown names are no mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Selection {
    All,
    Some(HashSet<String>),
}

impl Default for Selection {
    fn default() -> Self {
        Self::Some(HashSet::new())
    }
}

impl Selection {
    fn parse(text: &str) -> Self {
        match text.trim() {
            "all" => Self::All,
            names => Self::Some(
                names
                    .split(',')
                    .map(|name| name.trim().to_lowercase())
                    .collect(),
            ),
        }
    }

    fn contains(&self, rule: Rule) -> bool {
        match self {
            Self::All => true,
            Self::Some(names) => names.contains(&rule.name().to_lowercase()),
        }
    }
}

impl CheckOptions {
    /// Parses options such as `skip=StageNameCasing,FromAsCasing;error=true`.
    ///
    /// # Errors
    /// If a key is unknown or `error` is no truth value.
    pub fn parse(text: &str) -> Result<Self, CheckOptionsError> {
        let mut options = Self::default();
        if text.trim().is_empty() {
            return Ok(options);
        }
        for part in text.split(';') {
            let unknown = |key: &str| CheckOptionsError::Unknown(key.to_owned());
            let (key, value) = part.split_once('=').ok_or_else(|| unknown(part))?;
            match key.trim() {
                "skip" => options.skip = Selection::parse(value),
                "experimental" => options.experimental = Selection::parse(value),
                "error" => {
                    options.error = boolean::parse(value.trim())
                        .ok_or_else(|| CheckOptionsError::NotBoolean(part.to_owned()))?;
                }
                key => return Err(unknown(key)),
            }
        }
        Ok(options)
    }

    /// Returns the options of a comment or a directive: what stands behind a blank is a remark.
    #[must_use]
    pub fn without_remark(text: &str) -> &str {
        text.split(' ').next().unwrap_or_default()
    }

    /// Returns whether a finding of `rule` counts at an instruction with these doc comments.
    #[must_use]
    pub fn reports(&self, rule: Rule, comments: &[Text]) -> bool {
        let own = Self::of_comments(comments);
        // BuildKit's linter asks one list or the other: what must be switched on is not skipped.
        if rule.is_experimental() {
            self.experimental.contains(rule) || own.experimental.contains(rule)
        } else {
            !self.skip.contains(rule) && !own.skip.contains(rule)
        }
    }

    /// Reads the first doc comment that holds options. One that makes no sense is just a comment.
    fn of_comments(comments: &[Text]) -> Self {
        let mut pairs = comments
            .iter()
            .filter_map(|comment| comment.raw.split_once('='));
        pairs
            .find(|(name, _)| name.trim().eq_ignore_ascii_case("check"))
            .and_then(|(_, text)| Self::parse(Self::without_remark(text.trim())).ok())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn df_171_skips() {
        let options =
            CheckOptions::parse("skip=StageNameCasing, fromascasing ; error=true").unwrap();
        assert!(options.error);
        assert!(!options.reports(Rule::StageNameCasing, &[]));
        assert!(!options.reports(Rule::FromAsCasing, &[]));
        assert!(options.reports(Rule::UndefinedVar, &[]));
        let options = CheckOptions::parse("skip=all").unwrap();
        assert!(Rule::ALL.iter().all(|rule| !options.reports(*rule, &[])));
        // Names of rules that do not exist, or no longer, are no mistake.
        let options = CheckOptions::parse("skip=NoSuchRule,UndefinedVar").unwrap();
        assert!(!options.reports(Rule::UndefinedVar, &[]));
        assert_eq!(CheckOptions::parse(" "), Ok(CheckOptions::default()));
    }

    #[test]
    fn df_171_comments_skip_for_one_instruction() {
        let comment = |raw: &str| Text {
            raw: raw.to_owned(),
            ..Text::default()
        };
        let options = CheckOptions::default();
        let comments = [comment("hello"), comment("Check = skip=UndefinedVar")];
        assert!(!options.reports(Rule::UndefinedVar, &comments));
        assert!(options.reports(Rule::StageNameCasing, &comments));
        assert!(options.reports(Rule::UndefinedVar, &[comment("check=what")]));
    }

    #[test]
    fn experimental_rules_are_asked_for() {
        let rule = Rule::InvalidDefinitionDescription;
        assert!(!CheckOptions::default().reports(rule, &[]));
        for text in [
            "experimental=all",
            "experimental=InvalidDefinitionDescription",
        ] {
            assert!(CheckOptions::parse(text).unwrap().reports(rule, &[]));
        }
    }

    #[test]
    fn malformed_check_options_are_refused() {
        #[track_caller]
        fn check(text: &str, expected: &str) {
            assert_eq!(CheckOptions::parse(text).unwrap_err().to_string(), expected);
        }
        check(
            "foo=1",
            "failed to parse check options: invalid check option \"foo\"",
        );
        check(
            "skip",
            "failed to parse check options: invalid check option \"skip\"",
        );
        check(
            "error=x",
            "failed to parse check option \"error=x\": invalid syntax",
        );
    }
}
