//! Entries of the cache in docker's words.

use kiln_docker::lists::{CacheFilters, CacheMutability, CacheRecord, CacheSharing, CacheUse};
use kiln_engine::{CacheEntry, EntrySharing, Usability};
use kiln_oci::Timestamp;

use crate::failure::Failure;

/// Returns what docker's lists say of an entry.
pub(crate) fn record(entry: &CacheEntry) -> CacheRecord<'_> {
    CacheRecord {
        id: &entry.id,
        parents: &entry.parents,
        kind: entry.kind.as_str(),
        description: &entry.description,
        mutability: if entry.kind.is_mutable() {
            CacheMutability::Mutable
        } else {
            CacheMutability::Immutable
        },
        sharing: match entry.sharing {
            EntrySharing::Shared => CacheSharing::Shared,
            EntrySharing::Private => CacheSharing::Private,
        },
        cache_use: match entry.usability {
            Usability::InUse => CacheUse::InUse,
            Usability::Idle => CacheUse::Reclaimable,
        },
        size_bytes: entry.size_bytes,
        cost: entry.cost,
        created: entry.created,
        last_used: entry.last_used,
    }
}

/// Parses `--filter`; times without a zone are meant where the person is.
pub(super) fn filters(texts: &[String], now: Timestamp) -> Result<CacheFilters, Failure> {
    let zone = jiff::tz::TimeZone::system();
    Ok(CacheFilters::parse(texts, now, &zone)?)
}
