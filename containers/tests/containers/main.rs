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
mod handed_out;
#[cfg(target_arch = "x86_64")]
mod sockets;
mod stories;

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
        (Some("--monitor"), [directory, ..]) => monitor(Path::new(directory)),
        (Some("--foreground"), [root, name, ..]) => stories::foreground(Path::new(root), name),
        (Some("--hand-out"), [address, ..]) => handed_out::hand_out(address),
        #[cfg(target_arch = "x86_64")]
        (Some("--sockets"), _) => sockets::inside(),
        (Some("--list"), _) => ExitCode::SUCCESS,
        (_, words) => run_as_each_user(words),
    }
}

/// Stands beside a container.
fn monitor(directory: &Path) -> ExitCode {
    userns::enter(&userns::Options::default()).unwrap();
    kiln_containers::monitor::main(directory).unwrap();
    ExitCode::SUCCESS
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
    let fixture = match Fixture::new(scratch.path()) {
        Ok(fixture) => fixture,
        Err(skip) => {
            skip.announce();
            return ExitCode::SUCCESS;
        }
    };
    let all = [
        stories::CASES,
        handed_out::CASES,
        #[cfg(target_arch = "x86_64")]
        sockets::CASES,
    ];
    run_cases(&all, words, &fixture)
}
