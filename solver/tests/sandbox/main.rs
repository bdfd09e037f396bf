//! The runner of this machine, with processes in sandboxes: as root, as root that may not mount, as
//! an ordinary user with a range of ids, and as one without.
//!
//! Namespaces are entered in `main`, before any thread exists, so this is a program of its own. Words
//! on the command line select the cases whose names contain one of them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod chains; // several processes in order
mod fixture; // a state directory with busybox
#[path = "../support/processes.rs"]
mod processes; // processes and events for runners

use std::process::ExitCode;

use fixture::Fixture;
use kiln_runtime::userns::{self, PrivilegeLevel};
use kiln_testbed::{Skip, Suite};

/// A test and its name.
type Case = kiln_testbed::Case<Fixture>;

fn main() -> ExitCode {
    let suite = Suite {
        enter,
        fixture: Fixture::new,
        cases: &[chains::CASES],
        roles: &[],
    };
    suite.main()
}

/// Enters namespaces as far as the user may.
fn enter() -> Result<PrivilegeLevel, Skip> {
    match userns::enter(&userns::Options::default()).expect("namespaces can be entered") {
        PrivilegeLevel::None { reason } => Err(Skip::because(reason.to_string())),
        level => Ok(level),
    }
}
