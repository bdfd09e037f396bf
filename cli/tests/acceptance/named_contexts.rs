//! `--build-context`: names that stand for other directories, images and layouts.

use std::fs;
use std::path::Path;

use kiln_testbed::{Kiln, assert_no_leftovers, list_directory, need, need_root};

use crate::acceptance::harness::is_cached;
use crate::program;

/// Returns the names below a directory that an output of type `local` wrote.
fn names(directory: &Path) -> Vec<String> {
    list_directory(directory)
        .into_iter()
        .filter_map(|line| Some(line.split_once(' ')?.0.to_owned()))
        .filter(|name| name != ".")
        .collect()
}

#[test]
fn directories_serve_copies_mounts_and_stages() {
    let (kiln, _registry) = need!(Kiln::with_bases(program(), &["busybox"]));
    need!(need_root());
    let context = kiln.context(
        "context",
        &[(
            "Dockerfile",
            "FROM scratch AS assets\nCOPY nowhere /nowhere\n\
             FROM busybox AS made\n\
             RUN --mount=from=other,target=/other cp /other/file /copied && test ! -e /other/hidden\n\
             FROM other AS base\n\
             FROM scratch\n\
             COPY --from=other sub /sub/\n\
             COPY --from=made /copied /\n\
             COPY --from=base /file /from-base\n\
             COPY --from=assets /logo /\n",
        )],
    );
    kiln.context(
        "other",
        &[
            ("file", "x"),
            ("hidden", "x"),
            ("sub/inner", "x"),
            (".dockerignore", "hidden\n"),
        ],
    );
    kiln.context("pictures", &[("logo", "x")]);
    let other = format!("other={}", kiln.scratch.join("other").display());
    let assets = format!("assets={}", kiln.scratch.join("pictures").display());
    let out = kiln.scratch.join("out");
    let arguments = [
        "--build-context",
        &other,
        "--build-context",
        &assets,
        "-o",
        out.to_str().unwrap(),
    ];
    kiln.build(&context, &arguments);
    assert_eq!(
        names(&out),
        ["copied", "from-base", "logo", "sub", "sub/inner"]
    );
    // What is not read may change.
    fs::write(kiln.scratch.join("pictures/other"), "x").unwrap();
    let again = kiln.build(&context, &arguments);
    assert!(is_cached(&again, "COPY --from=assets /logo /"), "{again}");
    assert_no_leftovers(&kiln.state());
}

#[test]
fn images_and_layouts_take_the_place_of_names() {
    need!(need_root());
    let (kiln, _registry) = need!(Kiln::with_bases(program(), &["busybox"]));
    let base = kiln.context(
        "base",
        &[("Dockerfile", "FROM busybox\nRUN echo layout > /which\n")],
    );
    let layout = kiln.scratch.join("layout");
    let output = format!("type=oci,tar=false,dest={}", layout.display());
    kiln.build(&base, &["-t", "x:v1", "-o", &output]);
    let context = kiln.context(
        "context",
        &[(
            "Dockerfile",
            "FROM alpine:latest AS a\nRUN test -x /bin/busybox\n\
             FROM debian:12\nRUN grep layout /which\n\
             COPY --from=a /bin/busybox /from-image\n\
             COPY --from=nothing / /empty/\n",
        )],
    );
    let layout = format!("debian:12=oci-layout://{}:v1", layout.display());
    let arguments = [
        "--build-context",
        "docker.io/library/alpine=docker-image://busybox",
        "--build-context",
        &layout,
        "--build-context",
        "nothing=docker-image://scratch",
    ];
    kiln.build(&context, &arguments);
    assert_no_leftovers(&kiln.state());
}

/// DF-169.
#[test]
fn one_time_for_everything_new() {
    let (kiln, _registry) = need!(Kiln::with_bases(program(), &["busybox"]));
    let context = kiln.context(
        "context",
        &[(
            "Dockerfile",
            "ARG SOURCE_DATE_EPOCH=1000000000\nFROM scratch\nWORKDIR /a/b\nENV x=y\nCOPY Dockerfile /f\n",
        )],
    );
    let times = |arguments: &[&str]| {
        let mut all = vec!["-t", "epoch"];
        all.extend_from_slice(arguments);
        kiln.build(&context, &all);
        let format = "{{.Created}}";
        let created = kiln.ok(&["inspect", "-f", format, "epoch"]);
        let history = kiln.ok(&["history", "--format", "{{.CreatedAt}}", "epoch"]);
        assert_eq!(history.lines().count(), 3, "{history}");
        let first = history.lines().next().unwrap().to_owned();
        assert!(history.lines().all(|line| line == first), "{history}");
        created
    };
    assert_eq!(times(&[]), "2001-09-09T01:46:40Z");
    let argument = ["--build-arg", "SOURCE_DATE_EPOCH=0"];
    assert_eq!(times(&argument), "1970-01-01T00:00:00Z");
    assert_eq!(times(&["--timestamp", "86400"]), "1970-01-02T00:00:00Z");
    let output = kiln
        .command()
        .args(["build", "--build-arg", "SOURCE_DATE_EPOCH=yesterday"])
        .arg(&context)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.contains("invalid SOURCE_DATE_EPOCH: yesterday"),
        "{error}"
    );
}

#[test]
fn another_language_is_refused() {
    let (kiln, _registry) = need!(Kiln::with_bases(program(), &["busybox"]));
    let build = |first: &str, arguments: &[&str]| {
        let text = format!("{first}\nFROM scratch\nCOPY Dockerfile /\n");
        let context = kiln.context("context", &[("Dockerfile", &text)]);
        let mut command = kiln.command();
        let output = command.arg("build").args(arguments).arg(&context).output();
        let output = output.unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), error)
    };
    assert!(build("# syntax=docker/dockerfile:1.7-labs", &[]).0);
    let (done, error) = build("# syntax=example.com/mine", &[]);
    assert!(!done && error.contains("example.com/mine"), "{error}");
    let builtin = ["--build-arg", "BUILDKIT_SYNTAX=dockerfile.v0"];
    assert!(build("# syntax=example.com/mine", &builtin).0);
}
