//! What the state directory holds, what that costs, and what of it can go.
//!
//! An *inventory* lists the entries of the cache (results of steps, bases, downloads, repositories,
//! cache mounts, stat indexes) and notes in a ledger which layers and blobs each of them holds.
//! Tagged images, images by id and containers are roots: what they hold is never collected here.
//! Collecting chooses entries by the rules of [`kiln_cache::evict`], and then sweeps what nobody
//! holds: names first, bytes last, so that a kiln that is killed leaves garbage and nothing else.
//!
//! Sweeping needs the state directory for itself; measuring, which takes longest, does not and
//! comes before. Bytes are deleted when others are let in again.

pub(crate) mod automatic; // now and then, behind a build
pub(crate) mod collect; // what goes, and how
mod entry; // entries as people see them
mod inventory; // what is there
mod reach; // what manifests lead to
pub(crate) mod recover; // what others left behind
mod results; // results of steps
mod sources; // what comes from elsewhere or outlives builds
pub(crate) mod summary; // all kinds of things in four lines
pub(crate) mod unneeded; // images without names or containers
pub(crate) mod verify; // whether it is what it should be

pub use automatic::{Amount, CacheSettings, Collection};
pub use collect::{Extent, PruneRequest, Pruned, Turn};
pub use entry::{CacheEntry, CacheUsage, EntryKind, Sharing, Usability};
pub use summary::{ContainerUsage, ImageUsage, StorageSummary};
pub use unneeded::Unneeded;
pub use verify::{Damage, DamagedThing, Lost, Outcome, Repair, Verification};
