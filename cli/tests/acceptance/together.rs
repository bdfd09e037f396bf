//! Several kilns on one state directory.

use std::process::Child;

use kiln_testbed::{Ended, Kiln, assert_no_leftovers, need, need_root};

use crate::acceptance::harness::is_cached;
use crate::program;

#[test]
fn of_several_kilns_one_runs_a_step_and_all_get_its_result() {
    need!(need_root());
    let (kiln, _registry) = need!(Kiln::with_bases(program(), &["busybox"]));
    let context = kiln.context(
        "context",
        &[
            (
                "Dockerfile",
                "FROM busybox\nCOPY file /file\nRUN sleep 1; head -c 8 /dev/urandom > /r\n",
            ),
            ("file", "content"),
        ],
    );
    let build = |number: usize| -> Child {
        kiln.command()
            .args([
                "build",
                "--progress",
                "plain",
                "-t",
                &format!("together:{number}"),
            ])
            .arg(&context)
            .stderr(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap()
    };
    let children: Vec<Child> = (0..4).map(build).collect();
    let progress: Vec<String> = children
        .into_iter()
        .map(|child| Ended::from(child.wait_with_output().unwrap()))
        .map(|ended| ended.succeeded(&["build"]).stderr)
        .collect();
    let step = "RUN sleep 1; head -c 8 /dev/urandom > /r";
    let ran = progress
        .iter()
        .filter(|progress| !is_cached(progress, step))
        .count();
    assert_eq!(ran, 1, "{progress:#?}");
    let ids = kiln.ok(&["images", "-q", "--no-trunc"]);
    let mut ids: Vec<&str> = ids.lines().collect();
    assert_eq!(ids.len(), 4);
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert_no_leftovers(&kiln.state());
}
