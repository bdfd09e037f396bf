//! Results that machines share: `--cache-from`, `--cache-to`.

pub(crate) mod export; // from records here to a cache elsewhere
pub(crate) mod fetch; // layers that are described only
pub(crate) mod mounts; // what cache mounts hold
pub(crate) mod tiered; // records here, then those of caches elsewhere

mod import; // reading caches elsewhere

pub(crate) use export::Shareable;
pub(crate) use fetch::away;
pub(crate) use tiered::TieredCache;
