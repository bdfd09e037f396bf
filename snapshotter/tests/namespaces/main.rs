//! What needs mounts: run as root in a private mount namespace, and as an ordinary user in a user
//! namespace that maps one id.
//!
//! Namespaces are entered in `main`, before any thread exists, so this is a program of its own
//! instead of a libtest harness. Without the namespaces it says that it skipped.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test, though clippy cannot see it without the harness"
)]

mod commits;
mod overlays;
#[path = "../layers/sample.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod sample;
mod steps; // steps for tests

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, ExitCode};

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;

use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::UnshareFlags;

/// A test gets an empty directory of its own.
type Test = (&'static str, fn(&Path));

const TESTS: &[&[Test]] = &[overlays::TESTS, commits::TESTS];

/// An ordinary user's id; it needs no entry in /etc/passwd.
const ORDINARY: u32 = 65_534;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, mode, scratch] = &*arguments
        && mode == "--in-user-namespace"
    {
        return in_user_namespace(Path::new(scratch));
    }
    if arguments.iter().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let scratch = tempfile::tempdir().unwrap();
    let mut passed = true;
    if rustix::process::geteuid().is_root() {
        passed &= as_ordinary_user(scratch.path());
        match enter(UnshareFlags::NEWNS) {
            Ok(()) => passed &= run("root", scratch.path()),
            Err(error) => println!("skipped: root: no mount namespace: {error}"),
        }
    } else {
        passed &= in_user_namespace(scratch.path()) == ExitCode::SUCCESS;
    }
    if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Runs this program again as another user, from a copy which that user may read.
fn as_ordinary_user(scratch: &Path) -> bool {
    fs::set_permissions(scratch, fs::Permissions::from_mode(0o755)).unwrap();
    let program = scratch.join("test-program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let home = scratch.join("home");
    fs::create_dir(&home).unwrap();
    std::os::unix::fs::chown(&home, Some(ORDINARY), Some(ORDINARY)).unwrap();
    Command::new(&program)
        .arg("--in-user-namespace")
        .arg(&home)
        .current_dir("/")
        .uid(ORDINARY)
        .gid(ORDINARY)
        .process_group(0)
        .status()
        .unwrap()
        .success()
}

fn in_user_namespace(scratch: &Path) -> ExitCode {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    let entered = enter(UnshareFlags::NEWUSER | UnshareFlags::NEWNS).and_then(|()| {
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("0 {} 1", uid.as_raw()))?;
        fs::write("/proc/self/gid_map", format!("0 {} 1", gid.as_raw()))
    });
    if let Err(error) = entered {
        println!("skipped: no user namespaces: {error}");
        return ExitCode::SUCCESS;
    }
    if run("user namespace", scratch) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[expect(
    deprecated,
    reason = "the sound spelling of this call is unsafe; this process has one thread"
)]
fn enter(flags: UnshareFlags) -> std::io::Result<()> {
    rustix::thread::unshare(flags)?;
    if !flags.contains(UnshareFlags::NEWUSER) {
        mount_change(
            "/",
            MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
        )?;
    }
    Ok(())
}

fn run(who: &str, scratch: &Path) -> bool {
    let mut failed = 0;
    for (name, test) in TESTS.iter().copied().flatten() {
        let directory = scratch.join(format!("{who} {name}"));
        fs::create_dir(&directory).unwrap();
        let result = catch_unwind(AssertUnwindSafe(|| test(&directory)));
        println!(
            "test {who}: {name} ... {}",
            if result.is_ok() { "ok" } else { "FAILED" }
        );
        failed += usize::from(result.is_err());
        kiln_files::remove_tree(&directory).unwrap();
    }
    let count = TESTS.iter().copied().flatten().count();
    println!("{}", kiln_testbed::closing_line(count, failed));
    failed == 0
}
