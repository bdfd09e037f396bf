//! Giving up what the program must not have.

use libc::sock_filter;
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::descriptors;
use super::step::{During as _, Step};
use crate::seccomp;
use crate::sys::program::ProcessSetup;
use crate::sys::raw;
use crate::sys::report::SetupStage;

/// Leaves the process with the user, the capabilities and the filter of the program.
pub(super) fn reduce(program: &ProcessSetup<'_>) -> Step<()> {
    for (index, &capability) in program.forbidden.iter().enumerate() {
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // This kernel knows neither this capability nor those that follow.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(errno).during(SetupStage::BoundingSet, index),
        }
    }
    // Loading takes CAP_SYS_ADMIN, since no_new_privs stays unset; what follows is permitted by
    // the filter.
    if let Some(filter) = program.filter {
        load(filter).during(SetupStage::Filter, 0)?;
    }
    let identity = program.identity;
    if let Some(groups) = &identity.groups {
        rustix::thread::set_thread_groups(groups).during(SetupStage::Groups, 0)?;
    }
    rustix::thread::set_thread_res_gid(identity.gid, identity.gid, identity.gid)
        .during(SetupStage::GroupId, 0)?;
    // Leaving user id 0 clears the effective and permitted sets.
    rustix::thread::set_thread_res_uid(identity.uid, identity.uid, identity.uid)
        .during(SetupStage::UserId, 0)?;
    let kept = if identity.uid.is_root() {
        program.capabilities
    } else {
        CapabilitySet::empty()
    };
    // Nothing is inheritable: moby did away with that for CVE-2022-24769.
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets).during(SetupStage::Capabilities, 0)
}

/// Loads the filter, and gives kiln the descriptor on which it receives the calls that it answers.
/// Where the kernel makes none, because a filter around kiln has one or the kernel is too old, those
/// calls fail.
fn load(filter: &[sock_filter]) -> Result<(), Errno> {
    if seccomp::ASKS {
        // With the second flag, a signal does not interrupt a call that kiln is busy with
        // (Linux 5.19).
        let listening = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
        let undisturbed = listening | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
        for flags in [undisturbed, listening] {
            if let Ok(listener) = raw::load_filter(filter, flags) {
                descriptors::hand_over(listener);
                return Ok(());
            }
        }
    }
    raw::load_filter(filter, 0).map(drop)
}
