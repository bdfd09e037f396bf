//! What is needed of a job after its process was cloned.

use kiln_files::GuestPath;

use super::closing::AtEnd;
use super::context::OwnStubs;
use super::stubs::Stubs;
use crate::Ulimit;
use crate::sys::Strings;

/// Names for messages, and mount points to remove.
#[derive(Debug)]
pub(super) struct JobFacts {
    pub(super) program: String,
    pub(super) searched: bool,
    /// The paths tried as the program.
    pub(super) candidates: Strings,
    pub(super) cwd: GuestPath,
    pub(super) limits: Vec<Ulimit>,
    /// The target of each mount step.
    pub(super) targets: Vec<GuestPath>,
    pub(super) stubs: Stubs,
    pub(super) at_end: AtEnd,
    pub(super) _own_stubs: Option<OwnStubs>,
}
