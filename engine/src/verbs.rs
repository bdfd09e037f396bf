//! What a user asks for: one function for each verb. Their types are the crate's own, one floor up.

// Builds
mod build; // an image
pub(crate) mod check; // findings about a Dockerfile
pub(crate) mod compare; // layers with layers
pub(crate) mod forecast; // what a build would do
pub(crate) mod outline; // what a build can be given
pub(crate) mod reproducibility; // whether a build comes to the same twice
pub(crate) mod targets; // what can be built
pub(crate) mod why; // what builds did

// Images
pub(crate) mod history; // how one came about
pub(crate) mod images; // which there are
pub(crate) mod inspect; // what one is
mod load; // from an archive
mod login; // credentials for registries
pub(crate) mod pull; // from a registry
mod push; // to a registry
pub(crate) mod remove; // the image or its name
mod save; // into an archive
mod tag; // a name for one

// Containers
pub(crate) mod run; // from an image to a container
mod start; // once more

// The state directory
pub(crate) mod collect; // garbage, now and then, behind a build
mod open; // for looking or for work
pub(crate) mod prune; // entries of the cache
pub(crate) mod prune_images; // images without names or containers
pub(crate) mod usage; // what takes how much
pub(crate) mod verify; // whether everything is what it should be

pub use build::build;
pub use check::check;
pub use collect::{cache_limits, collect, is_collection_due};
pub use compare::compare_layers;
pub use forecast::forecast;
pub use history::history;
pub use images::images;
pub use inspect::inspect_image;
pub use load::load;
pub use login::{login, logout};
pub use open::{check_owner, open};
pub use outline::outline;
pub use prune::{empty_trash, prune_cache};
pub use prune_images::prune_images;
pub use pull::pull;
pub use push::push;
pub use remove::remove_images;
pub use reproducibility::check_reproducibility;
pub use run::create_container;
pub use save::save;
pub use start::renew_resolvers;
pub use tag::tag;
pub use targets::targets;
pub use usage::{cache_usage, usage};
pub use verify::verify;
pub use why::last_build;

pub use crate::containers::containers;
pub use crate::images::find;
