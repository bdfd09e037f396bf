//! What the state directory holds, what that costs, and what of it can go.
//!
//! An *inventory* lists the entries of the cache (results of steps, bases, downloads, repositories,
//! cache mounts, stat indexes) and counts who holds which layers and blobs.
//! Images and containers are roots: what they hold is never collected here. Only an image that a build
//! made and whose last name moved on is an entry, too.
//! Collecting chooses entries by the rules of [`kiln_cache::evict`], and then sweeps what no entry,
//! image or container holds: names first, bytes last, so that a kiln that is killed leaves garbage
//! and nothing else.
//!
//! Sweeping shuts others out for a moment at a time; measuring does not, and comes before. What others
//! use meanwhile stays (module `leases` of kiln-cache). Bytes are deleted when all names are gone.

pub(crate) mod damage; // what of it is not what it should be
pub(crate) mod disk; // the file system that it is on
pub(crate) mod entry; // entries as users see them
pub(crate) mod holdings; // what an inventory says
pub(crate) mod inventory; // what is there
pub(crate) mod reach; // what manifests lead to
pub(crate) mod recover; // what kilns left behind that were killed or lost their power
pub(crate) mod roots; // images and containers, which are never collected
pub(crate) mod sweep; // what goes

mod results; // results of steps, and images
mod sources; // what comes from elsewhere or outlives builds

pub(crate) use damage::Damage;
