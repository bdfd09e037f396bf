//! Members that are absent, `null` or of no weight.
//!
//! Go reads every `null` as nothing, so programs write them anywhere; kiln reads them so too, and
//! leaves out what says nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

pub(crate) fn null_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// As [`null_is_default`], also for the items of a list.
pub(crate) fn null_items_are_defaults<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let items = Option::<Vec<Option<T>>>::deserialize(deserializer)?.unwrap_or_default();
    Ok(items.into_iter().map(Option::unwrap_or_default).collect())
}

/// As [`null_is_default`], also for the values of a map: `{"80/tcp":null}` is a set of one.
pub(crate) fn nulls_are_defaults<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, T>, D::Error> {
    let map = Option::<BTreeMap<String, Option<T>>>::deserialize(deserializer)?.unwrap_or_default();
    let filled = |(key, value): (String, Option<T>)| (key, value.unwrap_or_default());
    Ok(map.into_iter().map(filled).collect())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
pub(crate) fn is_false(value: &bool) -> bool {
    !*value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
pub(crate) fn is_zero(value: &i64) -> bool {
    *value == 0
}
