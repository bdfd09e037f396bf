//! `kiln build --verify`: the same build twice.

use std::fs::File;
use std::process::Command;

use kiln_testbed::{Ended, Kiln, need, run};

use crate::program;

#[test]
fn a_build_of_copies_is_reproducible() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.dockerfile("FROM scratch\nCOPY busybox /bin/sh\nRUN echo same > /file\n");
    let ended = kiln.run(&[
        "build",
        "--verify",
        "--timestamp=1000",
        "--rewrite-timestamp",
        "--iidfile=id",
        "-t=app",
        "ctx",
    ]);
    assert_eq!(ended.code, 0, "{ended:#?}");
    let digest = ended.stdout.trim().strip_prefix("reproducible: ").unwrap();
    assert!(digest.starts_with("sha256:"), "{digest}");
    let id = std::fs::read_to_string(kiln.scratch.join("id")).unwrap();
    assert_eq!(kiln.ok(&["inspect", "-f", "{{.Id}}", "app"]), id);
    // What outputs got is what later builds find.
    let again = kiln.ok(&[
        "build",
        "-q",
        "--timestamp=1000",
        "--rewrite-timestamp",
        "ctx",
    ]);
    assert_eq!(again, id);
}

#[test]
fn differences_are_shown_with_the_step_that_made_them() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.dockerfile(
        "FROM scratch AS made\nCOPY busybox /bin/sh\nSHELL [\"/bin/sh\", \"-c\"]\n\
         RUN read id < /proc/sys/kernel/random/uuid; echo \"id: $id\" > /id; echo same > /same\n\
         RUN read -r id < /id; [ -n \"$id\" ]\n\
         FROM scratch\nCOPY --from=made /same /\nCOPY --from=made /id /\n",
    );
    let flags = [
        "build",
        "--verify",
        "--timestamp=1000",
        "--rewrite-timestamp",
    ];
    let ended = kiln.run(&[&flags[..], &["-t=app", "ctx"]].concat());
    assert_eq!(ended.code, 1, "{ended:#?}");
    let place = regex::Regex::new(r"at byte \d+ of 41").unwrap();
    assert_eq!(
        place.replace(&ended.stdout, "at byte [N] of 41"),
        "not reproducible: 1 file in 1 step differs\n\
         [made 2/3] RUN read id < /proc/sys/kernel/random/uuid; echo \"id: $id\" > /id; echo same > /same\n\
         \x20 /id: content differs at byte [N] of 41\n\
         [stage-1 2/2] COPY --from=made /id /: 1 file because of an earlier step\n"
    );
    // The second build was kept.
    let id = kiln.ok(&["inspect", "-f", "{{.Id}}", "app"]);
    assert_eq!(
        kiln.ok(&[
            "build",
            "-q",
            "--timestamp=1000",
            "--rewrite-timestamp",
            "ctx"
        ]),
        id
    );
    // Quiet is quiet; the exit code says it.
    let quiet = kiln.run(&[&flags[..], &["-q", "ctx"]].concat());
    assert_eq!(quiet.code, 1);
    assert_eq!(quiet.stdout.lines().count(), 1, "{}", quiet.stdout);
}

#[test]
fn without_a_time_the_config_differs() {
    let kiln = Kiln::new(program());
    kiln.dockerfile("FROM scratch\nCOPY Dockerfile /\n");
    let ended = kiln.run(&["build", "--verify", "ctx"]);
    assert_eq!(ended.code, 1, "{ended:#?}");
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(lines[0], "not reproducible: the image's config differs");
    assert!(lines.iter().any(|line| line.starts_with("  created: ")));
    assert_eq!(
        *lines.last().unwrap(),
        "hint: set SOURCE_DATE_EPOCH or --timestamp, so that what is new has one time"
    );
}

#[test]
fn a_context_that_can_be_read_once_is_refused() {
    let kiln = Kiln::new(program());
    kiln.dockerfile("FROM scratch\nCOPY Dockerfile /\n");
    let archive = kiln.scratch.join("ctx.tar");
    run(Command::new("tar")
        .arg("-cf")
        .arg(&archive)
        .arg("-C")
        .arg(kiln.scratch.join("ctx"))
        .arg("."));
    let mut command = kiln.command();
    command.args(["build", "--verify", "-"]);
    command.stdin(File::open(archive).unwrap());
    let ended = Ended::from(command.output().unwrap());
    assert_eq!(ended.code, 125, "{ended:#?}");
    assert!(
        ended.stderr.contains("reads the context twice"),
        "{ended:#?}"
    );
}

/// A clock shows another second in the second build.
#[test]
fn steps_that_write_the_time_are_found() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.dockerfile(
        "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"sh\", \"-c\", \
         \"/bin/busybox date > /time\"]\n",
    );
    let ended = kiln.run(&["build", "--verify", "--reproducible", "ctx"]);
    assert_eq!(ended.code, 1, "{ended:#?}");
    assert!(
        ended.stdout.contains("  /time: content differs"),
        "{ended:#?}"
    );
    let quiet = kiln.run(&["build", "--verify", "--reproducible", "-q", "ctx"]);
    assert_eq!(quiet.code, 1, "{quiet:#?}");
    assert!(quiet.stderr.starts_with("not reproducible: "), "{quiet:#?}");
}
