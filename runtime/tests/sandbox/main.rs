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

mod containers;
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
mod process;
mod secrets;
mod security;
#[cfg(target_arch = "x86_64")]
mod sockets;
mod starting;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Mutex;

use fixture::Fixture;
use kiln_runtime::userns::{self, Rung};
use kiln_testbed::{
    Scratch, Tool, copy_for_everyone, need_root, ordinary_user, user_without_subids,
};

/// A test and its name.
type Case = (&'static str, fn(&Fixture));

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
        (Some("--monitor"), [directory, ..]) => containers::monitor(Path::new(directory)),
        (Some("--foreground"), [root, name, ..]) => containers::foreground(Path::new(root), name),
        (Some("--connect"), [socket, ..]) => mount_points::connect(socket),
        (Some("--hand-out"), [address, what, ..]) => handed_out::hand_out(address, what),
        (Some("--emulate"), [directory, ..]) => foreign::emulate(Path::new(directory)),
        (Some("--list"), _) => ExitCode::SUCCESS,
        (_, words) => outside(words),
    }
}

/// Runs this program once for each kind of user.
fn outside(words: &[String]) -> ExitCode {
    let own = std::env::current_exe().expect("this program has a path");
    let (_copy, program) = copy_for_everyone(&own);
    let mut failures = 0;
    let mut run = |who: &str, command: &mut Command| {
        println!("\nas {who}");
        let status = command.arg("--inside").args(words).status();
        failures += usize::from(!status.expect("this program can be run").success());
    };
    if need_root().is_ok() {
        run("root", &mut Command::new(&program));
        // As in a container that is not privileged.
        match Tool::find("setpriv") {
            Ok(setpriv) => {
                let mut command = setpriv.command();
                command
                    .args(["--bounding-set", "-sys_admin", "--"])
                    .arg(&program);
                run("root without CAP_SYS_ADMIN", &mut command);
            }
            Err(skip) => skip.announce(),
        }
    }
    match ordinary_user() {
        Ok(user) => run("an ordinary user", &mut user.command(&program)),
        Err(skip) => skip.announce(),
    }
    match user_without_subids() {
        Ok(user) => run("a user without ranges", &mut user.command(&program)),
        Err(skip) => skip.announce(),
    }
    ExitCode::from(u8::from(failures > 0))
}

/// Enters namespaces and runs the cases, several at the same time.
fn inside(words: &[String]) -> ExitCode {
    let rung = userns::enter(&userns::Options::default()).expect("namespaces can be entered");
    println!("{rung:?}");
    if let Rung::None { reason } = &rung {
        kiln_testbed::Skip::because(reason.to_string()).announce();
        return ExitCode::SUCCESS;
    }
    let scratch = Scratch::for_everyone();
    let fixture = match Fixture::new(scratch.path(), rung) {
        Ok(fixture) => fixture,
        Err(skip) => {
            skip.announce();
            return ExitCode::SUCCESS;
        }
    };
    let selected = |case: &&Case| words.is_empty() || words.iter().any(|w| case.0.contains(w));
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
        containers::CASES,
    ];
    let waiting: Mutex<Vec<&Case>> =
        Mutex::new(all.into_iter().flatten().filter(selected).rev().collect());
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some((name, case)) = { waiting.lock().unwrap().pop() } {
                    let result = catch_unwind(AssertUnwindSafe(|| case(&fixture)));
                    println!(
                        "test {name} ... {}",
                        if result.is_ok() { "ok" } else { "FAILED" }
                    );
                    if result.is_err() {
                        failed.lock().unwrap().push(*name);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    println!("{} failed {failed:?}", failed.len());
    drop(fixture);
    ExitCode::from(u8::from(!failed.is_empty()))
}
