//! Results that machines share: `--cache-from`, `--cache-to`.

pub(crate) mod bring; // layers that are described only
pub(crate) mod export; // from records here to a cache elsewhere
pub(crate) mod mounts; // what cache mounts hold
pub(crate) mod tiers; // records here, then those of caches elsewhere

mod import; // reading caches elsewhere

pub(crate) use bring::away;
pub(crate) use export::Sharing;
pub(crate) use tiers::Tiers;
