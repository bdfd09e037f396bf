//! The harness itself, with its smallest scenario.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kiln_testbed::{
    Scratch, Skip, Tool, assert_no_leftovers, busybox, leftovers, need, need_root, run,
};
use rustix::process::{Pid, Signal, kill_process};

/// Succeeds where an enclosure can be made and filled.
fn need_everything() -> Result<(), Skip> {
    need_root()?;
    busybox()?;
    for tool in ["docker-registry", "skopeo", "umoci", "buildah", "runc"] {
        Tool::find(tool)?;
    }
    let namespaces = Tool::find("unshare")?
        .command()
        .args(["--cgroup", "--mount", "--pid", "--fork", "true"])
        .output();
    if !namespaces.is_ok_and(|output| output.status.success()) {
        return Err(Skip::because("no namespaces for root here"));
    }
    if group_mounts().is_empty() {
        return Err(Skip::because("no control groups are mounted"));
    }
    Ok(())
}

/// Returns a command that does the smallest scenario in a directory, with a kiln that claims
/// success and does nothing.
fn bench(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiln-bench"));
    command
        .args(["--rounds", "1", "--only", "smoke", "--kiln"])
        .arg(Tool::find("true").expect("coreutils are everywhere").path())
        .env("TMPDIR", directory);
    command
}

fn group_mounts() -> Vec<PathBuf> {
    fs::read_to_string("/proc/self/mountinfo")
        .unwrap()
        .lines()
        .filter(|line| line.contains(" - cgroup"))
        .filter_map(|line| line.split(' ').nth(4).map(PathBuf::from))
        .collect()
}

/// Returns the control groups that are named like the enclosure's directory.
fn groups_of(enclosure: &Path) -> String {
    // Not through `run`: find complains about groups of others that vanish before it is there.
    let output = Command::new("find")
        .args(group_mounts())
        .args(["-type", "d", "-name"])
        .arg(enclosure.file_name().unwrap())
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_smallest_scenario_has_figures_and_finds_the_impostor() {
    need!(need_everything());
    let scratch = Scratch::new();
    let file = Scratch::new();
    let markdown = file.join("report.md");
    let output = run(bench(scratch.path())
        .args(["--memory", "--peers", "buildah", "--markdown"])
        .arg(&markdown));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, fs::read_to_string(markdown).unwrap());

    let row = |start: &str| {
        text.lines()
            .find(|line| line.starts_with(start))
            .unwrap_or_else(|| panic!("no line starts with {start}:\n{text}"))
    };
    assert_eq!(
        row("| kiln |"),
        "| kiln | WRONG RESULT | - | - | - | - | - | - |"
    );
    assert!(row("- kiln: WRONG RESULT:").contains("skopeo"), "{text}");
    assert!(row("| buildah |").ends_with(" MiB |"), "{text}");
    for measured in ["| buildah |", "| limit: stat walk |"].map(row) {
        let durations = measured.matches(" ms |").count() + measured.matches(" s |").count();
        assert_eq!(durations, 4, "{measured}");
    }

    assert_no_leftovers(scratch.path());
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
}

/// Ends a run by a signal in the middle, and looks for what is left.
fn check_that_nothing_outlives(signal: Signal) {
    let scratch = Scratch::new();
    let mut child = bench(scratch.path())
        .args(["--peers", "buildah"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut progress = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    progress.read_line(&mut line).unwrap();
    assert!(line.contains("round 0"), "{line}");

    let mut entries = fs::read_dir(scratch.path()).unwrap();
    let enclosure = entries.next().unwrap().unwrap().path();
    assert!(!groups_of(&enclosure).is_empty());
    assert!(!leftovers(&enclosure).is_empty());

    // The process became the script that waits outside.
    let id = Pid::from_raw(child.id().cast_signed()).unwrap();
    kill_process(id, signal).unwrap();
    let mut rest = String::new();
    let _ = progress.read_to_string(&mut rest);
    assert!(!child.wait().unwrap().success());

    assert_no_leftovers(scratch.path());
    assert!(!enclosure.exists());
    assert_eq!(groups_of(&enclosure), "");
}

#[test]
fn nothing_outlives_an_interrupt() {
    need!(need_everything());
    check_that_nothing_outlives(Signal::INT);
}

#[test]
fn nothing_outlives_a_polite_end() {
    need!(need_everything());
    check_that_nothing_outlives(Signal::TERM);
}
