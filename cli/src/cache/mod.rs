//! `kiln cache`, and what docker calls `builder du`, `builder prune` and their kin.

mod collector; // what happens behind a build
mod du; // what the cache takes
mod filters; // entries by --filter
mod prune; // what goes
mod rows; // entries as lines
mod settings; // limits from flags, variables and a file
mod verify; // whether it is whole

pub(crate) use collector::{COLLECTOR, collect, start_if_due};
pub(crate) use du::{DuArguments, du};
pub(crate) use prune::{PruneArguments, prune};
pub(crate) use rows::{LISTING, row};
pub(crate) use settings::settings;
pub(crate) use verify::{VerifyArguments, verify};
