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
use kiln_testbed::{Scratch, run_as_each_user, run_cases};

/// A test and its name.
type Case = kiln_testbed::Case<Fixture>;

/// Makes a table of cases out of the functions of a module.
macro_rules! cases {
    ($($name:ident)*) => { &[$((stringify!($name), $name as fn(&crate::fixture::Fixture)),)*] };
}
pub(crate) use cases;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (flags, words): (Vec<_>, Vec<_>) = arguments
        .into_iter()
        .partition(|word| word.starts_with("--"));
    match (flags.first().map(String::as_str), words.as_slice()) {
        (Some("--inside"), words) => inside(words),
        (Some("--victim"), [directory, ..]) => lifecycle::victim(Path::new(directory)),
        (Some("--stubborn-victim"), [directory, ..]) => {
            lifecycle::stubborn_victim(Path::new(directory))
        }
        (Some("--hidden-proc"), [directory, ..]) => {
            security::with_hidden_proc(Path::new(directory))
        }
        (Some("--limited-caller"), [directory, ..]) => {
            process::limited_caller(Path::new(directory))
        }
        (Some("--hierarchies"), [directory, ..]) => {
            device_rules::with_hierarchies(Path::new(directory))
        }
        (Some("--own-group"), [directory, own, ..]) => {
            device_rules::in_own_group(Path::new(directory), Path::new(own))
        }
        #[cfg(target_arch = "x86_64")]
        (Some("--sockets"), [what, ..]) => sockets::inside(what),
        #[cfg(target_arch = "x86_64")]
        (Some("--listened-to"), [directory, ..]) => sockets::listened_to(Path::new(directory)),
        (Some("--outlive"), [directory, ..]) => lifecycle::outlive(directory),
        (Some("--connect"), [socket, ..]) => mount_points::connect(socket),
        (Some("--hand-out"), [address, what, ..]) => handed_out::hand_out(address, what),
        (Some("--emulate"), [directory, ..]) => foreign::emulate(Path::new(directory)),
        (Some("--list"), _) => ExitCode::SUCCESS,
        (_, words) => run_as_each_user(words),
    }
}

/// Enters namespaces and runs the cases, several at the same time.
fn inside(words: &[String]) -> ExitCode {
    let level = userns::enter(&userns::Options::default()).expect("namespaces can be entered");
    println!("{level:?}");
    if let PrivilegeLevel::None { reason } = &level {
        kiln_testbed::Skip::because(reason.to_string()).announce();
        return ExitCode::SUCCESS;
    }
    let scratch = Scratch::for_everyone();
    let fixture = match Fixture::new(scratch.path(), level) {
        Ok(fixture) => fixture,
        Err(skip) => {
            skip.announce();
            return ExitCode::SUCCESS;
        }
    };
    let all = [
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
    let code = run_cases(&all, words, &fixture);
    drop(fixture);
    code
}
