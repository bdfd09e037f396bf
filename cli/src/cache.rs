//! `kiln cache`, and what docker calls `builder du`, `builder prune` and their kin.

mod collector; // what happens behind a build
mod du; // what the cache takes
mod prune; // what goes
mod records; // entries in docker's words
mod settings; // limits from flags, variables and a file
mod verify; // whether it is whole

pub(crate) use collector::{COLLECTOR, collect, start_if_due};
pub(crate) use du::{DuArguments, du};
pub(crate) use prune::{PruneArguments, prune};
pub(crate) use records::record;
pub(crate) use settings::settings;
pub(crate) use verify::{VerifyArguments, verify};
