//! `--filter key=value`: one key several times means either, several keys mean all.

use std::collections::BTreeMap;

use regex::Regex;

use crate::time::InvalidTime;

/// A filter that is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// It is not of the form that filters have, or of a key that is not known here.
    #[error("invalid filter '{text}'")]
    Unknown {
        /// The filter, or its key.
        text: String,
        /// The keys that are known.
        known: Vec<String>,
    },
    /// It is not understood.
    #[error("invalid filter '{0}'")]
    Invalid(String),
    /// The value of a key that is true or false is neither.
    #[error("invalid filter '{key}={value}'")]
    NotBoolean {
        /// The key.
        key: String,
        /// Its value.
        value: String,
    },
    /// Its time is none.
    #[error(transparent)]
    Time(#[from] InvalidTime),
}

impl FilterError {
    /// Returns what to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { known, .. } => {
                Some(format!("filters are KEY=VALUE with {}", known.join(", ")))
            }
            Self::Invalid(_) | Self::NotBoolean { .. } | Self::Time(_) => None,
        }
    }
}

/// The filters of a command line.
#[derive(Debug, Default)]
pub struct Filters(BTreeMap<String, Vec<String>>);

impl Filters {
    /// Parses filters, of which only `known` keys are understood.
    ///
    /// # Errors
    /// When one is of another key or form.
    pub fn parse(texts: &[String], known: &[&str]) -> Result<Self, FilterError> {
        let mut filters: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for text in texts {
            let invalid = |text: &str| FilterError::Unknown {
                text: text.to_owned(),
                known: known.iter().map(|&key| key.to_owned()).collect(),
            };
            let (key, value) = text.split_once('=').ok_or_else(|| invalid(text))?;
            let key = key.trim().to_lowercase();
            if !known.contains(&key.as_str()) {
                return Err(invalid(&key));
            }
            filters
                .entry(key)
                .or_default()
                .push(value.trim().to_owned());
        }
        Ok(Self(filters))
    }

    /// Returns the values of a key.
    #[must_use]
    pub fn values(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    /// Says whether a key is absent or one of its values passes.
    #[must_use]
    pub fn any(&self, key: &str, passes: impl Fn(&str) -> bool) -> bool {
        let values = self.values(key);
        values.is_empty() || values.iter().any(|value| passes(value))
    }

    /// Says whether all labels asked for are there: `key` or `key=value`.
    #[must_use]
    pub fn labels(&self, labels: &BTreeMap<String, String>) -> bool {
        self.values("label")
            .iter()
            .all(|wanted| match wanted.split_once('=') {
                Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
                None => labels.contains_key(wanted),
            })
    }

    /// Returns a truth value, if the key is there.
    ///
    /// # Errors
    /// When its value is none.
    pub fn boolean(&self, key: &str) -> Result<Option<bool>, FilterError> {
        let Some(text) = self.values(key).last() else {
            return Ok(None);
        };
        match kiln_parser::parse_bool(text) {
            Some(value) => Ok(Some(value)),
            None => Err(FilterError::NotBoolean {
                key: key.to_owned(),
                value: text.clone(),
            }),
        }
    }
}

/// Matches a shell pattern: `*` and `?` do not cross slashes.
#[must_use]
pub fn matches_pattern(pattern: &str, text: &str) -> bool {
    kiln_parser::glob_match(pattern, text).unwrap_or(false)
}

/// Matches a regular expression, anywhere in a text unless it is anchored, or the text itself. As
/// for docker, what is no regular expression matches nothing else.
#[must_use]
pub fn matches_expression(expression: &str, text: &str) -> bool {
    expression == text || Regex::new(expression).is_ok_and(|expression| expression.is_match(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(texts: &[&str]) -> Result<Filters, FilterError> {
        let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
        Filters::parse(&texts, &["label", "name", "dangling"])
    }

    #[test]
    fn keys_are_anded_and_values_ored() {
        let filters = filters(&["name=a", "name=b", "label=x", "label=y=1"]).unwrap();
        assert!(filters.any("name", |value| value == "b"));
        assert!(!filters.any("name", |value| value == "c"));
        assert!(filters.any("dangling", |_| false));
        let labels = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect()
        };
        assert!(filters.labels(&labels(&[("x", ""), ("y", "1")])));
        assert!(!filters.labels(&labels(&[("x", ""), ("y", "2")])));
    }

    #[test]
    fn unknown_filters_are_refused() {
        for (text, message) in [
            ("age=1", "invalid filter 'age'"),
            ("label", "invalid filter 'label'"),
        ] {
            assert_eq!(filters(&[text]).unwrap_err().to_string(), message);
        }
        let dangling = filters(&["dangling=maybe"]).unwrap().boolean("dangling");
        assert!(dangling.is_err());
    }

    #[test]
    fn patterns_do_not_cross_slashes() {
        assert!(matches_pattern("team/*", "team/app"));
        assert!(!matches_pattern("team/*", "team/sub/app"));
        assert!(!matches_pattern("[", "["));
    }

    #[test]
    fn expressions_are_matched_as_docker_matches_names() {
        for (expression, text, expected) in [
            ("web", "web2", true),
            ("^web$", "web2", false),
            ("^web$", "web", true),
            ("^/web$", "/web", true),
            ("w.b", "web", true),
            ("^(web|db)$", "db", true),
            ("we[", "web", false),
            ("(", "(", true),
        ] {
            assert_eq!(
                matches_expression(expression, text),
                expected,
                "{expression} {text}"
            );
        }
    }
}
