//! Giving up what the program must not have.

use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::{During as _, Step};
use crate::sys::program::Program;
use crate::sys::raw;
use crate::sys::report::Stage;

/// Leaves the process with the user, the capabilities and the filter of the program.
pub(super) fn give_up(program: &Program<'_>) -> Step<()> {
    for (index, &capability) in program.forbidden.iter().enumerate() {
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // This kernel knows neither it nor those that follow.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(errno).during(Stage::BoundingSet, index),
        }
    }
    // Loading takes CAP_SYS_ADMIN, since no_new_privs stays unset; what follows is permitted by
    // the filter.
    if let Some(filter) = program.filter {
        raw::load_filter(filter).during(Stage::Filter, 0)?;
    }
    let identity = program.identity;
    if let Some(groups) = &identity.groups {
        rustix::thread::set_thread_groups(groups).during(Stage::Groups, 0)?;
    }
    rustix::thread::set_thread_res_gid(identity.gid, identity.gid, identity.gid)
        .during(Stage::GroupId, 0)?;
    // Leaving user id 0 clears the effective and permitted sets.
    rustix::thread::set_thread_res_uid(identity.uid, identity.uid, identity.uid)
        .during(Stage::UserId, 0)?;
    let kept = match identity.uid.is_root() {
        true => program.capabilities,
        false => CapabilitySet::empty(),
    };
    // Nothing is inheritable: moby did away with that for CVE-2022-24769.
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets).during(Stage::Capabilities, 0)
}
