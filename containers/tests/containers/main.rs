//! What becomes of containers, with monitors that are processes of their own.
//!
//! Run as root, the cases run four times, each time in a process of its own, since namespaces are
//! entered in `main`. Words on the command line select the cases whose names contain one of them.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "this is the test harness itself"
)]

mod fixture;
mod foreground;
mod handed_out;
#[cfg(target_arch = "x86_64")]
mod sockets;
mod stories;

use std::path::Path;
use std::process::ExitCode;

use fixture::Fixture;
use kiln_runtime::userns::{self, PrivilegeLevel};
use kiln_testbed::{Role, Skip, Suite};

/// A test and its name.
type Case = kiln_testbed::Case<Fixture>;

/// The cases.
const CASES: &[&[Case]] = &[
    stories::CASES,
    foreground::CASES,
    handed_out::CASES,
    #[cfg(target_arch = "x86_64")]
    sockets::CASES,
];

/// What cases start this program for.
const ROLES: &[Role] = &[
    ("--monitor", |words| monitor(Path::new(&words[0]))),
    ("--foreground", |words| {
        foreground::foreground(Path::new(&words[0]), &words[1])
    }),
    ("--hand-out", |words| handed_out::hand_out(&words[0])),
    #[cfg(target_arch = "x86_64")]
    ("--sockets", |_| sockets::inside()),
];

fn main() -> ExitCode {
    let suite = Suite {
        enter,
        fixture: |directory, _level| Fixture::new(directory),
        cases: CASES,
        roles: ROLES,
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

/// Stands beside a container.
fn monitor(directory: &Path) -> ExitCode {
    userns::enter(&userns::Options::default()).unwrap();
    kiln_containers::monitor::main(directory).unwrap();
    ExitCode::SUCCESS
}
