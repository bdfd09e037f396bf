//! What a sandbox looks like from inside, and what it leaves behind.
//!
//! Run as root, the cases run four times: as root, as root that may not mount, as an ordinary user
//! with a range of ids, and as one without. Each time is a process of its own, since namespaces are
//! entered in `main`.
//! Words on the command line select the cases whose names contain one of them.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "this is the test harness itself"
)]

mod device_rules;
mod devices;
mod escape;
mod filesystem;
mod fixture;
mod foreign;
mod handed_out;
#[cfg(target_arch = "x86_64")]
mod i386;
mod lifecycle;
mod mount_points;
mod plugged;
mod process;
mod secrets;
mod security;
#[cfg(target_arch = "x86_64")]
mod sockets;
mod starting;

use std::path::Path;
use std::process::ExitCode;

use fixture::Fixture;
use kiln_runtime::userns::{self, PrivilegeLevel};
use kiln_testbed::{Role, Skip, Suite};

/// A test and its name.
type Case = kiln_testbed::Case<Fixture>;

/// The cases.
const CASES: &[&[Case]] = &[
    process::CASES,
    filesystem::CASES,
    mount_points::CASES,
    devices::CASES,
    device_rules::CASES,
    secrets::CASES,
    security::CASES,
    #[cfg(target_arch = "x86_64")]
    sockets::CASES,
    escape::CASES,
    handed_out::CASES,
    starting::CASES,
    foreign::CASES,
    lifecycle::CASES,
    plugged::CASES,
];

/// What cases start this program for.
const ROLES: &[Role] = &[
    ("--victim", |words| lifecycle::victim(Path::new(&words[0]))),
    ("--stubborn-victim", |words| {
        lifecycle::stubborn_victim(Path::new(&words[0]))
    }),
    ("--outlive", |words| lifecycle::outlive(&words[0])),
    ("--hidden-proc", |words| {
        security::with_hidden_proc(Path::new(&words[0]))
    }),
    ("--limited-caller", |words| {
        process::limited_caller(Path::new(&words[0]))
    }),
    ("--hierarchies", |words| {
        device_rules::with_hierarchies(Path::new(&words[0]))
    }),
    ("--own-group", |words| {
        device_rules::in_own_group(Path::new(&words[0]), Path::new(&words[1]))
    }),
    #[cfg(target_arch = "x86_64")]
    ("--sockets", |words| sockets::inside(&words[0])),
    #[cfg(target_arch = "x86_64")]
    ("--listened-to", |words| {
        sockets::listened_to(Path::new(&words[0]))
    }),
    ("--connect", |words| mount_points::connect(&words[0])),
    ("--hand-out", |words| {
        handed_out::hand_out(&words[0], &words[1])
    }),
    ("--emulate", |words| foreign::emulate(Path::new(&words[0]))),
];

fn main() -> ExitCode {
    let suite = Suite {
        enter,
        fixture: Fixture::new,
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
