//! Everything addressed by a digest, and the rules for sharing and collecting it.
//!
//! Everything here is safe to share between kiln processes. This crate knows nothing about
//! Dockerfiles, mounts or networks.

// What things are called.
mod digest; // content, layers, images, steps
mod encode; // how a value enters a key
mod foreign_file; // files of directories that somebody else made
mod guest_path; // paths inside a root
mod holes; // files with less in them than they are long
mod media; // descriptors and media types
mod name; // names of images
mod platform; // what an image runs on
mod scoped; // opening what lies in a directory
mod sha256_stream; // digests of what flows by
mod timestamp; // points in time

// What is kept.
mod blobs; // bytes by SHA-256
mod downloads; // what URLs stood for
mod image; // manifests and configs
mod image_ids; // images by id
mod process_directory; // directories of processes that live
mod refs; // names that move
mod store; // the state directory
mod tree; // indexes of files
mod work; // what is unfinished, or not on disk yet

// What a build remembers.
mod actions; // "this step, these inputs" leads to a result
mod assembled; // images by what they are made of
mod cache_mounts; // directories that outlive builds
mod flight; // one kiln runs a step, the others wait
mod journal; // what builds did
mod reason; // why they did it
mod scan; // from a directory to a tree
mod stat_index; // what a context looked like last time

// How it is done at once, and ends before it is done.
mod stop; // what many bytes are moved under
mod threads; // help, where any is to be had

// What goes when not all can stay.
mod eviction; // by which rules
mod ledger; // who holds which bytes
mod tombstones; // what was evicted, and why
mod trash; // gone, but not deleted yet

pub use actions::{
    ActionRecord, Actions, BuiltLayer, CacheBackend, CacheError, Ingredient, Receipt, State,
    StoredRecord,
};
pub use assembled::Assembled;
pub use blobs::{BlobError, BlobWriter, Blobs};
pub use cache_mounts::{
    CacheAttempt, CacheCopy, CacheMount, CacheReading, CacheSharing, CacheStart, FillCacheMount,
    StillCacheMount, cache_mount_place, read_cache_mount, take_cache_mount,
};
pub use digest::{ActionKey, Blake3, ChainId, DiffId, ImageId, InvalidDigest, LayerId, Sha256};
pub use downloads::{DownloadRecord, Downloads};
pub use encode::{Encode, Encoder};
pub use eviction::{Candidate, Demand, Leaving, Limits, evict};
pub use flight::{Attempt, Claim, Flight, claim};
pub use foreign_file::{open_foreign, read_foreign};
pub use guest_path::{GuestPath, compare_paths};
pub use holes::{Piece, Pieces, may_have_holes};
pub use image::{
    Empty, Healthcheck, History, Image, ImageConfig, ImageError, Index, LARGEST_CONFIG,
    LARGEST_MANIFEST, Manifest, RootFs, RunConfig, parse_manifest,
};
pub use image_ids::ImageIds;
pub use journal::{Build, BuildEnd, BuiltStep, Definition, Fate, Journal};
pub use ledger::{DiskUsage, Ledger, Thing};
pub use media::{Compression, Descriptor, MediaKind, media_type};
pub use name::{DEFAULT_DOMAIN, DEFAULT_TAG, ImageRef, InvalidImageRef};
pub use platform::{InvalidPlatform, Platform};
pub use process_directory::ProcessDirectory;
pub use reason::{Change, FileChange, FilesFrom, Reason};
pub use refs::{Named, Names, NamesError};
pub use scan::{Everything, Filter, Owners, Scan, ScanError, Visit, scan};
pub use scoped::{Links, open_scoped};
pub use sha256_stream::{Sha256Reader, Sha256State, Sha256Writer};
pub use stat_index::StatIndex;
pub use stop::{Stop, Stopped, Stopping};
pub use store::{Entrance, OpenError, Store};
pub use threads::{Task, begin, beside, cannot_start, help, prepare_pool};
pub use timestamp::{InvalidTimestamp, Timestamp};
pub use tombstones::{EvictionReason, Tombstone, Tombstones};
pub use trash::Trash;
pub use tree::{Device, Entry, InvalidTree, Kind, Tree, TreeBuilder, Xattrs, XattrsBuf};
pub use work::{Announcement, Unsettled, WorkDir, remove_tree};
