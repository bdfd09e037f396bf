//! Entries of the cache by `--filter`.
//!
//! `key=value`, `key!=value` and `key~=part`; a bare key stands for what is so. Values of one key
//! are alternatives, keys and negations must all pass (spec/cli.md sections 0.6 and 2).

use std::collections::BTreeMap;

use kiln_engine::{CacheEntry, Sharing, Usability};
use kiln_oci::Timestamp;

use crate::containers::parse_time;
use crate::failure::Failure;

/// Filters of a command line.
#[derive(Clone, Debug, Default)]
pub(super) struct EntryFilters {
    wanted: BTreeMap<Key, Vec<Test>>,
    unwanted: Vec<(Key, Test)>,
    until: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Id,
    Parents,
    Description,
    Type,
    InUse,
    Mutable,
    Immutable,
    Shared,
    Private,
}

#[derive(Clone, Debug)]
enum Test {
    Is(String),
    Contains(String),
}

impl EntryFilters {
    /// Parses filters; several may stand in one, with commas.
    pub(super) fn parse(texts: &[String], now: Timestamp) -> Result<Self, Failure> {
        let mut filters = Self::default();
        for text in texts.iter().flat_map(|text| text.split(',')) {
            let text = text.trim();
            let invalid = || Failure::new(format!("invalid filter '{text}'"));
            let operators = ["~=", "!=", "="];
            let found = operators
                .into_iter()
                .filter_map(|operator| Some((text.find(operator)?, operator)))
                .min_by_key(|(place, operator)| (*place, std::cmp::Reverse(operator.len())));
            let (key, operator, value) = match found {
                Some((place, operator)) => {
                    (&text[..place], operator, &text[place + operator.len()..])
                }
                None => (text, "=", "true"),
            };
            if key == "until" {
                filters.until = match operator {
                    "=" => Some(parse_time(value, now)?),
                    _ => return Err(invalid()),
                };
                continue;
            }
            let unknown = || Failure::new(format!("invalid filter '{key}'"));
            let key = Key::parse(key).ok_or_else(unknown)?;
            if found.is_none() && !key.is_switch() {
                return Err(invalid());
            }
            let value = match kiln_parser::parse_bool(value) {
                Some(value) if key.is_switch() => value.to_string(),
                None if key.is_switch() => return Err(invalid()),
                _ => value.to_owned(),
            };
            match operator {
                "!=" => filters.unwanted.push((key, Test::Is(value))),
                "~=" => filters.want(key, Test::Contains(value)),
                _ => filters.want(key, Test::Is(value)),
            }
        }
        Ok(filters)
    }

    fn want(&mut self, key: Key, test: Test) {
        self.wanted.entry(key).or_default().push(test);
    }

    /// Says whether an entry passes.
    pub(super) fn pass(&self, entry: &CacheEntry) -> bool {
        let any = |(key, tests): (&Key, &Vec<Test>)| tests.iter().any(|t| t.fits(*key, entry));
        self.until.is_none_or(|until| entry.last_used <= until)
            && self.wanted.iter().all(any)
            && !self
                .unwanted
                .iter()
                .any(|(key, test)| test.fits(*key, entry))
    }
}

impl Key {
    fn parse(text: &str) -> Option<Self> {
        Some(match text.trim().to_lowercase().as_str() {
            "id" => Self::Id,
            "parent" | "parents" => Self::Parents,
            "description" => Self::Description,
            "type" => Self::Type,
            "inuse" => Self::InUse,
            "mutable" => Self::Mutable,
            "immutable" => Self::Immutable,
            "shared" => Self::Shared,
            "private" => Self::Private,
            _ => return None,
        })
    }

    fn is_switch(self) -> bool {
        !matches!(
            self,
            Self::Id | Self::Parents | Self::Description | Self::Type
        )
    }

    fn values(self, entry: &CacheEntry) -> Vec<String> {
        let is_shared = entry.sharing == Sharing::Shared;
        let switch = |value: bool| vec![value.to_string()];
        match self {
            Self::Id => vec![entry.id.clone()],
            Self::Parents => entry.parents.clone(),
            Self::Description => vec![entry.description.clone()],
            Self::Type => vec![entry.kind.as_str().to_owned()],
            Self::InUse => switch(entry.usability == Usability::InUse),
            Self::Mutable => switch(entry.kind.is_mutable()),
            Self::Immutable => switch(!entry.kind.is_mutable()),
            Self::Shared => switch(is_shared),
            Self::Private => switch(!is_shared),
        }
    }
}

impl Test {
    fn fits(&self, key: Key, entry: &CacheEntry) -> bool {
        key.values(entry).iter().any(|value| match self {
            // An id may be given as it is shown elsewhere, longer or shorter.
            Self::Is(wanted) if key == Key::Id => {
                !wanted.is_empty() && (value.starts_with(wanted) || wanted.starts_with(value))
            }
            Self::Is(wanted) => value == wanted,
            Self::Contains(part) => value.contains(part.as_str()),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kiln_engine::EntryKind;

    use super::*;

    fn entry() -> CacheEntry {
        CacheEntry {
            id: "0123456789ab".to_owned(),
            kind: EntryKind::Regular,
            description: "RUN make".to_owned(),
            parents: vec!["fedcba987654".to_owned()],
            created: None,
            last_used: Timestamp::from_seconds(1000),
            cost: Duration::ZERO,
            size_bytes: 1,
            sharing: Sharing::Private,
            usability: Usability::Idle,
        }
    }

    #[test]
    fn entries_pass_or_do_not() {
        let now = Timestamp::from_seconds(1000 + 7200);
        for (texts, expected) in [
            (&[][..], true),
            (&["id=0123"], true),
            (&["id=4"], false),
            (&["type=regular", "type=source.local"], true),
            (&["type!=regular"], false),
            (&["description~=make,private"], true),
            (&["description~=make", "shared"], false),
            (&["shared=false", "inuse=0", "immutable"], true),
            (&["parents=fedcba987654"], true),
            (&["until=1h"], true),
            (&["until=3h"], false),
        ] {
            let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
            let filters = EntryFilters::parse(&texts, now).unwrap();
            assert_eq!(filters.pass(&entry()), expected, "{texts:?}");
        }
        for text in ["age=1", "id", "shared=maybe", "until!=1h", "until=soon"] {
            assert!(
                EntryFilters::parse(&[text.to_owned()], now).is_err(),
                "{text}"
            );
        }
    }
}
