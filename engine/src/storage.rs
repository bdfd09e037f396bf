//! What the state directory holds, what that costs, and what of it can go.
//!
//! An *inventory* lists the entries of the cache (results of steps, bases, downloads, repositories,
//! cache mounts, stat indexes) and counts who holds which layers and blobs.
//! Tagged images, images by id and containers are roots: what they hold is never collected here.
//! Collecting chooses entries by the rules of [`kiln_cache::evict`], and then sweeps what no entry,
//! image or container holds: names first, bytes last, so that a kiln that is killed leaves garbage
//! and nothing else.
//!
//! Sweeping needs the state directory for itself; measuring, which takes longest, does not and
//! comes before. Bytes are deleted when others are let in again.

pub(crate) mod damage; // what of it is not what it should be
pub(crate) mod disk; // the file system that it is on
pub(crate) mod entry; // entries as users see them
pub(crate) mod holdings; // what an inventory says
pub(crate) mod inventory; // what is there
pub(crate) mod reach; // what manifests lead to
pub(crate) mod recover; // what kilns left behind that were killed or lost their power
pub(crate) mod roots; // images and containers, which are never collected

mod results; // results of steps
mod sources; // what comes from elsewhere or outlives builds

pub(crate) use damage::Damage;
