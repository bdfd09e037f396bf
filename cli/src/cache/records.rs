//! Entries of the cache in docker's words.

use kiln_docker::rows::{CacheFilters, CacheRecord, RecordMutability, RecordSharing, RecordUse};
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
            RecordMutability::Mutable
        } else {
            RecordMutability::Immutable
        },
        sharing: match entry.sharing {
            EntrySharing::Shared => RecordSharing::Shared,
            EntrySharing::Private => RecordSharing::Private,
        },
        cache_use: match entry.usability {
            Usability::InUse => RecordUse::InUse,
            Usability::Idle => RecordUse::Reclaimable,
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
