//! How often a build waits for the disk.

use kiln_testbed::{Kiln, Tool, need};

use super::traced::{strace, traced};
use crate::program;

/// Returns which calls of a command waited for the disk.
#[track_caller]
fn waits(kiln: &Kiln, strace: &Tool, arguments: &[&str]) -> Vec<String> {
    let calls = "sync,syncfs,fsync,fdatasync,sync_file_range";
    // `<pid> <call>(…`
    let call = |line: String| Some(line.split_once('(')?.0.rsplit(' ').next()?.to_owned());
    let calls = traced(kiln, strace, calls, arguments).into_iter();
    calls.filter_map(call).collect()
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
