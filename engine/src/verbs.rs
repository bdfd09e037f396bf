//! What a user asks for: one function for each verb.

// Builds
mod build; // an image
mod check; // findings about a Dockerfile
mod compare; // layers with layers
mod forecast; // what a build would do
mod outline; // what a build can be given
mod reproducibility; // whether a build comes to the same twice
mod targets; // what can be built
mod why; // what builds did

// Images
mod history; // how one came about
mod images; // which there are
mod inspect; // what one is
mod load; // from an archive
mod login; // credentials for registries
mod pull; // from a registry
mod push; // to a registry
mod remove; // the image or its name
mod save; // into an archive
mod tag; // a name for one

// Containers
mod run; // from an image to a container
mod start; // once more

// The state directory
mod collect; // garbage, now and then, behind a build
mod open; // for looking or for work
mod prune; // entries of the cache
mod prune_images; // images without names or containers
mod usage; // what takes how much
mod verify; // whether everything is what it should be

pub use build::build;
pub use check::{CheckResult, check};
pub use collect::{Amount, CacheSettings, Collection, cache_limits, collect, is_collection_due};
pub use compare::{ConfigDifference, DifferentFile, FileChange, FileKind, compare_layers};
pub use forecast::{BuildForecast, Prospect, StepForecast, forecast};
pub use history::{HistoryEntry, history};
pub use images::{ImageSummary, images};
pub use inspect::{InspectedImage, inspect_image};
pub use load::load;
pub use login::{login, logout};
pub use open::open;
pub use outline::{Outline, OutlinedArgument, OutlinedNeed, outline};
pub use prune::{PruneExtent, PruneRequest, PruneTurn, Pruned, empty_trash, prune_cache};
pub use prune_images::{Unneeded, prune_images};
pub use pull::{Pulled, pull};
pub use push::push;
pub use remove::{ImageRemoval, remove_image};
pub use reproducibility::{Cause, Comparison, ImageVerdict, StepDifference, build_twice};
pub use run::{Bind, RunRequest, create_container};
pub use save::save;
pub use start::renew_resolvers;
pub use tag::tag;
pub use targets::{Target, Targets, targets};
pub use usage::{ContainerDiskUsage, ImageDiskUsage, StorageSummary, cache_usage, usage};
pub use verify::{Lost, Repair, Verification, verify};
pub use why::{WhichBuild, last_build};

pub use crate::containers::containers;
pub use crate::images::find;
