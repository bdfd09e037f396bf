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
use std::path::Path;
use std::process::{Command, ExitCode};

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;

use kiln_testbed::Selection;
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::UnshareFlags;

/// A test gets an empty directory of its own.
type Test = (&'static str, fn(&Path));

const TESTS: &[&[Test]] = &[overlays::TESTS, commits::TESTS];

/// An ordinary user's id; it needs no entry in /etc/passwd.
const ORDINARY: u32 = 65_534;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, mode, scratch, rest @ ..] = &*arguments
        && mode == "--in-user-namespace"
    {
        return in_user_namespace(Path::new(scratch), &selected(&Selection::of(rest)));
    }
    let selection = Selection::of(&arguments[1..]);
    let tests = selected(&selection);
    if selection.is_list {
        let names: Vec<&str> = tests.iter().map(|(name, _)| *name).collect();
        print!("{}", kiln_testbed::listing(&names));
        return ExitCode::SUCCESS;
    }
    let scratch = tempfile::tempdir().unwrap();
    let mut passed = true;
    if rustix::process::geteuid().is_root() {
        passed &= as_ordinary_user(scratch.path(), &arguments[1..]);
        match enter(UnshareFlags::NEWNS) {
            Ok(()) => passed &= run("root", scratch.path(), &tests),
            Err(error) => println!("skipped: root: no mount namespace: {error}"),
        }
    } else {
        passed &= in_user_namespace(scratch.path(), &tests) == ExitCode::SUCCESS;
    }
    if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Returns the tests of a selection.
fn selected(selection: &Selection) -> Vec<Test> {
    let tests = TESTS.iter().copied().flatten().copied();
    tests.filter(|(name, _)| selection.has(name)).collect()
}

/// Runs this program again as another user, from a copy which that user may read. `arguments` are
/// passed on.
fn as_ordinary_user(scratch: &Path, arguments: &[String]) -> bool {
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
        .args(arguments)
        .current_dir("/")
        .uid(ORDINARY)
        .gid(ORDINARY)
        .process_group(0)
        .status()
        .unwrap()
        .success()
}

fn in_user_namespace(scratch: &Path, tests: &[Test]) -> ExitCode {
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
    if run("user namespace", scratch, tests) {
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

fn run(who: &str, scratch: &Path, tests: &[Test]) -> bool {
    let mut failed = 0;
    for (name, test) in tests {
        let directory = scratch.join(format!("{who} {name}"));
        fs::create_dir(&directory).unwrap();
        let passed = kiln_testbed::run_case(&format!("{who}: {name}"), || test(&directory));
        failed += usize::from(!passed);
        kiln_files::remove_tree(&directory).unwrap();
    }
    println!("{}", kiln_testbed::closing_line(tests.len(), failed));
    failed == 0
}
