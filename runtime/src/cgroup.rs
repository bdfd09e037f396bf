//! Limits for a process and its children.
//!
//! Hosts have version 1 hierarchies, one for each set of controllers, or the version 2 hierarchy,
//! or both with the controllers divided between them, or nothing. A job gets a group
//! `kiln/<process id>-<number>` in every hierarchy that has a controller it needs: at the top
//! where this process may write there, or else below the group it is in, which works where that
//! was delegated. Groups without limits are not made at all.
//!
//! Groups outlive a kiln that is killed; the next one to make a group removes those that no kiln
//! holds a lock of. The kernel keeps a group that still has processes.

mod device_rules; // devices as lines and as a program
mod devices; // which devices a job may use
mod group; // groups of one job
mod hierarchy; // which hierarchies the host has
mod settings; // limits as files

pub(crate) use devices::{Controlled, DeviceControl};
pub(crate) use group::Cgroup;
pub use group::limits_refused;
pub(crate) use hierarchy::{is_unified, shows_groups};
