//! Commands whose system calls are counted.

use std::fs;

use kiln_testbed::{Kiln, Skip, Tool};

/// Lets strace watch a command of kiln with everything that it starts, and returns the lines about
/// these calls, which name the files of descriptors.
#[track_caller]
pub(super) fn traced(kiln: &Kiln, strace: &Tool, calls: &str, arguments: &[&str]) -> Vec<String> {
    let trace = kiln.scratch.join("trace");
    let mut traced = strace.command();
    traced
        .args(["-f", "-y", "-qqq", "-e", "signal=none", "-o"])
        .arg(&trace)
        .args(["-e", &format!("trace={calls}")])
        .arg(env!("CARGO_BIN_EXE_kiln"))
        .args(arguments)
        .current_dir(kiln.scratch.path());
    let command = kiln.command();
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => traced.env(name, value),
            None => traced.env_remove(name),
        };
    }
    let output = traced.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let trace = fs::read_to_string(trace).unwrap();
    // The second half of a call that was interrupted says nothing new.
    let lines = trace.lines().filter(|line| !line.contains("resumed>"));
    lines.map(str::to_owned).collect()
}

/// Returns strace, if it may watch anybody.
pub(super) fn strace() -> Result<Tool, Skip> {
    let strace = Tool::find("strace")?;
    let tried = strace.command().args(["-o", "/dev/null", "true"]).output();
    if tried.is_ok_and(|output| output.status.success()) {
        Ok(strace)
    } else {
        Err(Skip::because("strace may not trace on this machine"))
    }
}
