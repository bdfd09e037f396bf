//! What a user asks for: one function for each verb.

mod open; // a state directory

pub use open::open;

pub use crate::building::build;
pub use crate::building::forecast::forecast;
pub use crate::check::check;
pub use crate::compare::compare_layers;
pub use crate::containers::{containers, create_container, renew_resolvers};
pub use crate::images::{find, history, images, inspect_image, remove_image, tag};
pub use crate::outline::outline;
pub use crate::ship::{load, login, logout, pull, push, save};
pub use crate::storage::automatic::{cache_limits, collect, is_collection_due};
pub use crate::storage::collect::{cache_usage, empty_trash, prune_cache};
pub use crate::storage::summary::storage;
pub use crate::storage::unneeded::prune_images;
pub use crate::storage::verify::verify;
pub use crate::targets::targets;
pub use crate::twice::build_twice;
pub use crate::why::last_build;
