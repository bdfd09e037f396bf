//! Lines and JSON on standard error (docs/spec/cli.md 1.9).

use insta::assert_snapshot;
use kiln_testbed::{Kiln, need};
use serde_json::Value;

use crate::commands::harness::masked;
use crate::program;

#[test]
fn plain_progress_is_one_block_per_step() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.dockerfile(
        "FROM scratch\nCOPY busybox /bin/sh\nRUN echo one; echo two >&2\nWORKDIR /w\nCMD [\"x\"]\n",
    );
    let ended = kiln.run(&["build", "-t", "app", "ctx"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (0, ""));
    // The two streams of a process arrive in any order.
    assert!(ended.stderr.contains(" one\n") && ended.stderr.contains(" two\n"));
    let again = kiln.run(&["build", "--progress=plain", "-t", "app", "ctx"]);
    assert_snapshot!(masked(&kiln, &again.stderr), @r"
    #1 [internal] load build definition from Dockerfile
    #1 DONE [TIME]

    #2 [internal] load build context
    #2 reading changed files [SIZE] [TIME] done
    #2 DONE [TIME]

    #3 [1/3] COPY busybox /bin/sh
    #3 CACHED

    #4 [2/3] RUN echo one; echo two >&2
    #4 CACHED

    #5 [3/3] WORKDIR /w
    #5 CACHED

    #6 exporting to image
    #6 exporting layers [TIME] done
    #6 exporting manifest [DIGEST] [TIME] done
    #6 exporting config [DIGEST] [TIME] done
    #6 naming to docker.io/library/app:latest [TIME] done
    #6 DONE [TIME]
    ");
}

#[test]
fn modes_can_be_chosen_by_variable() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.dockerfile("FROM scratch\nCOPY busybox /b\n");
    let mut command = kiln.command();
    command.env("BUILDKIT_PROGRESS", "rawjson");
    let output = command.args(["build", "ctx"]).output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    let events: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let copies = events
        .iter()
        .flat_map(|event| event["vertexes"].as_array().into_iter().flatten())
        .filter(|vertex| {
            vertex["name"] == "[1/1] COPY busybox /b" && vertex["completed"].is_string()
        });
    assert_eq!(copies.count(), 1, "{text}");
    assert_eq!(kiln.run(&["build", "--progress=none", "ctx"]).stderr, "");
    let ended = kiln.run(&["build", "--progress=tty", "ctx"]);
    assert!(ended.stderr.contains("failed to get console"), "{ended:#?}");
}
