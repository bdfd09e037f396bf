//! The content-addressed store, and the rules for sharing and collecting it.
//!
//! Everything here is addressed by a digest and safe to share between kiln processes. This crate
//! knows nothing about Dockerfiles, mounts or networks.

// The state directory.
mod spread; // files that are named by digests, all at once
mod store; // opening it: layout, format version, locks
mod work; // unfinished files, and durability: what is named but perhaps not on disk

// Images.
mod blobs; // bytes by SHA-256
mod image_names; // tags and pins -> manifest
mod image_notes; // image id -> manifest, and what lists say of it
mod read_image; // manifest and config, read from blobs

// What builds leave for later builds.
mod actions; // action key -> record of a result
mod assembled; // base, layers and history -> manifest
mod cache_mounts; // directories of RUN --mount=type=cache
mod claim; // the right to run a step, a lock named by its key
mod downloads; // URL -> validators and blob
mod layer_stack; // a base and the layers above, as records, keys and images name file systems
mod stack_parts; // the lower parts of stacks, which records have in common
mod stat_indexes; // build context -> stat index of the last build

// Collection.
mod collection; // what is removed, and when
mod disk_usage; // bytes and inodes
mod eviction; // which entries go, in which order
mod growth; // what was added since the last collection
mod leases; // what each kiln uses, so that it stays
mod measured_trees; // what directories took when they were measured last
mod ref_counts; // which entries and images hold which bytes
mod tombstones; // which records were evicted, when and why
mod trash; // files that are renamed away and deleted later

pub use actions::{
    ActionKey, ActionRecord, Actions, CacheBackend, CacheError, Ingredient, Receipt, RecordSummary,
    StoredRecord, milliseconds,
};
pub use assembled::Assembled;
pub use blobs::{BlobError, BlobWriter, Blobs};
pub use cache_mounts::{
    CacheAttempt, CacheCopy, CacheMount, CacheReading, CacheSharing, CacheStart, FillCacheMount,
    StillCacheMount, cache_mount_place, read_cache_mount, take_cache_mount,
};
pub use claim::{Claim, ClaimAttempt, LockWait, claim, remove_free_claims};
pub use collection::{Collection, InUse, Patience};
pub use disk_usage::{DiskMeasure, DiskUsage, hundredths};
pub use downloads::{DownloadRecord, Downloads};
pub use eviction::{Candidate, Demand, Eviction, Limits, evict};
pub use image_names::{ImageNames, Named, NamesError};
pub use image_notes::{ImageFacts, ImageNote, ImageNotes, Stay};
pub use layer_stack::{BuiltLayer, LayerStack};
pub use leases::Leased;
pub use measured_trees::MeasuredTrees;
pub use read_image::{ImageError, read_image};
pub use ref_counts::{Object, RefCounts};
pub use spread::{Look, SpreadFile};
pub use stack_parts::PartsByStack;
pub use stat_indexes::{load_stat_index, save_stat_index};
pub use store::{OpenError, Store, WorkDir, check_owner};
pub use tombstones::{EvictionReason, Tombstone, Tombstones};
pub use trash::Trash;
pub use work::{Announcement, Unsettled};
