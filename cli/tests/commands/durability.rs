//! How often a build waits for the disk.

use std::fs;

use kiln_testbed::{Kiln, Skip, Tool, need};

use crate::program;

/// Lets strace watch kiln, and returns which calls waited for the disk.
fn waits(kiln: &Kiln, strace: &Tool, arguments: &[&str]) -> Vec<String> {
    let trace = kiln.scratch.join("trace");
    let mut traced = strace.command();
    traced
        .args(["-f", "-qqq", "-e", "signal=none", "-o"])
        .arg(&trace)
        .args(["-e", "trace=sync,syncfs,fsync,fdatasync,sync_file_range"])
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
    // `<pid> <call>(…`; the second half of a call that was interrupted has no bracket there.
    let call = |line: &str| Some(line.split_once('(')?.0.rsplit(' ').next()?.to_owned());
    let calls = trace.lines().filter(|line| !line.contains("resumed>"));
    calls.filter_map(call).collect()
}

/// Returns strace, if it may watch anybody.
fn strace() -> Result<Tool, Skip> {
    let strace = Tool::find("strace")?;
    let tried = strace.command().args(["-o", "/dev/null", "true"]).output();
    if tried.is_ok_and(|output| output.status.success()) {
        Ok(strace)
    } else {
        Err(Skip::because("strace may not trace on this machine"))
    }
}

#[test]
fn a_build_that_executes_waits_once_and_one_that_does_not_never() {
    let kiln = need!(Kiln::for_builds(program()));
    let strace = need!(strace());
    let dockerfile = "FROM scratch\nCOPY busybox /bin/sh\nRUN echo made > /made\n";
    kiln.dockerfile(dockerfile);
    kiln.ok(&["build", "-q", "-t", "app", "ctx"]);
    // That it was asked for by its id, too, is noted once.
    kiln.ok(&["build", "-q", "ctx"]);
    let tagged = ["build", "-q", "-t", "app", "ctx"];
    let named_nothing = ["build", "-q", "ctx"];
    let cached = ["build", "-q", "-o", "type=cacheonly", "ctx"];
    for (number, arguments) in [&tagged[..], &named_nothing, &cached]
        .into_iter()
        .enumerate()
    {
        let nothing: [&str; 0] = [];
        assert_eq!(waits(&kiln, &strace, arguments), nothing, "{arguments:?}");
        kiln.dockerfile(&format!("{dockerfile}RUN echo {number} > /more\nRUN :\n"));
        // A name has a place of its own on the disk.
        let expected = if arguments == tagged {
            &["syncfs", "fdatasync"][..]
        } else {
            &["syncfs"]
        };
        assert_eq!(waits(&kiln, &strace, arguments), expected, "{arguments:?}");
        assert_eq!(waits(&kiln, &strace, arguments), nothing, "{arguments:?}");
        kiln.dockerfile(dockerfile);
    }
}
