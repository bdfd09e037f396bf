//! Entries of the cache by `--filter`.
//!
//! `key=value`, `key!=value` and `key~=part`; a bare key stands for what is so. Values of one key
//! are alternatives, keys and negations must all pass (docs/spec/cli.md 0.6 and 2).

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use kiln_oci::Timestamp;
use kiln_parser::parse_bool;

use super::build_cache::{CacheRecord, RecordMutability, RecordSharing, RecordUse};
use crate::filter::FilterError;
use crate::time;

/// Filters of a command line.
#[derive(Clone, Debug, Default)]
pub struct CacheFilters {
    wanted: BTreeMap<FilterKey, Vec<Test>>,
    unwanted: Vec<(FilterKey, Test)>,
    until: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum FilterKey {
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

impl CacheFilters {
    /// Parses filters; several may stand in one, with commas. A time without a zone is meant in
    /// `zone`.
    ///
    /// # Errors
    /// When a filter is not understood.
    pub fn parse(texts: &[String], now: Timestamp, zone: &TimeZone) -> Result<Self, FilterError> {
        let mut filters = Self::default();
        for text in texts.iter().flat_map(|text| text.split(',')) {
            let text = text.trim();
            let invalid = || FilterError::Invalid(text.to_owned());
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
                    "=" => Some(time::parse(value, now, zone)?),
                    _ => return Err(invalid()),
                };
                continue;
            }
            let unknown = || FilterError::Invalid(key.to_owned());
            let key = FilterKey::parse(key).ok_or_else(unknown)?;
            if found.is_none() && !key.is_switch() {
                return Err(invalid());
            }
            let value = match parse_bool(value) {
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

    fn want(&mut self, key: FilterKey, test: Test) {
        self.wanted.entry(key).or_default().push(test);
    }

    /// Says whether an entry passes.
    #[must_use]
    pub fn pass(&self, entry: &CacheRecord<'_>) -> bool {
        let any =
            |(key, tests): (&FilterKey, &Vec<Test>)| tests.iter().any(|t| t.fits(*key, entry));
        self.until.is_none_or(|until| entry.last_used <= until)
            && self.wanted.iter().all(any)
            && !self
                .unwanted
                .iter()
                .any(|(key, test)| test.fits(*key, entry))
    }
}

impl FilterKey {
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

    fn values(self, entry: &CacheRecord<'_>) -> Vec<String> {
        let is_mutable = entry.mutability == RecordMutability::Mutable;
        let is_shared = entry.sharing == RecordSharing::Shared;
        let switch = |value: bool| vec![value.to_string()];
        match self {
            Self::Id => vec![entry.id.to_owned()],
            Self::Parents => entry.parents.to_vec(),
            Self::Description => vec![entry.description.to_owned()],
            Self::Type => vec![entry.kind.to_owned()],
            Self::InUse => switch(entry.cache_use == RecordUse::InUse),
            Self::Mutable => switch(is_mutable),
            Self::Immutable => switch(!is_mutable),
            Self::Shared => switch(is_shared),
            Self::Private => switch(!is_shared),
        }
    }
}

impl Test {
    fn fits(&self, key: FilterKey, entry: &CacheRecord<'_>) -> bool {
        key.values(entry).iter().any(|value| match self {
            // An id may be given as it is shown elsewhere, longer or shorter.
            Self::Is(wanted) if key == FilterKey::Id => {
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

    use super::*;

    #[test]
    fn entries_pass_or_do_not() {
        let now = Timestamp::from_seconds(1000 + 7200);
        let parents = ["fedcba987654".to_owned()];
        let entry = CacheRecord {
            id: "0123456789ab",
            kind: "regular",
            description: "RUN make",
            parents: &parents,
            mutability: RecordMutability::Immutable,
            created: None,
            last_used: Timestamp::from_seconds(1000),
            cost: Duration::ZERO,
            size_bytes: 1,
            sharing: RecordSharing::Private,
            cache_use: RecordUse::Reclaimable,
        };
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
            let filters = CacheFilters::parse(&texts, now, &TimeZone::UTC).unwrap();
            assert_eq!(filters.pass(&entry), expected, "{texts:?}");
        }
        for text in ["age=1", "id", "shared=maybe", "until!=1h", "until=soon"] {
            assert!(
                CacheFilters::parse(&[text.to_owned()], now, &TimeZone::UTC).is_err(),
                "{text}"
            );
        }
    }
}
