//! The content-addressed store, and the rules for sharing and collecting it.
//!
//! Everything here is addressed by a digest and safe to share between kiln processes. This crate
//! knows nothing about Dockerfiles, mounts or networks.

// The state directory.
mod store; // who has it open, and what lies where
mod work; // what is unfinished, or not on disk yet

// What is kept.
mod blobs; // bytes by SHA-256
mod image_ids; // images by id
mod read_image; // manifests and configs of blobs
mod refs; // names that move

// What a build remembers.
mod actions; // "this step, these inputs" leads to a result
mod assembled; // images by what they are made of
mod cache_mounts; // directories that outlive builds
mod contexts; // what a context looked like last time
mod downloads; // what URLs stood for
mod flight; // one kiln runs a step, the others wait

// What goes when not all can stay.
mod eviction; // by which rules
mod ref_counts; // who holds which bytes
mod tombstones; // what was evicted, and why
mod trash; // gone, but not deleted yet

pub use actions::{
    ActionKey, ActionRecord, Actions, BuiltLayer, CacheBackend, CacheError, Ingredient, Receipt,
    State, StoredRecord, milliseconds,
};
pub use assembled::Assembled;
pub use blobs::{BlobError, BlobWriter, Blobs};
pub use cache_mounts::{
    CacheAttempt, CacheCopy, CacheMount, CacheReading, CacheSharing, CacheStart, FillCacheMount,
    StillCacheMount, cache_mount_place, read_cache_mount, take_cache_mount,
};
pub use contexts::{load_stat_index, save_stat_index};
pub use downloads::{DownloadRecord, Downloads};
pub use eviction::{Candidate, Demand, Leaving, Limits, evict};
pub use flight::{Attempt, Claim, Flight, claim};
pub use image_ids::ImageIds;
pub use read_image::{ImageError, read_image};
pub use ref_counts::{DiskUsage, Object, RefCounts};
pub use refs::{Named, Names, NamesError};
pub use store::{Entrance, OpenError, Store, WorkDir};
pub use tombstones::{EvictionReason, Tombstone, Tombstones};
pub use trash::Trash;
pub use work::{Announcement, Unsettled};
