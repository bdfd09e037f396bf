//! Several kilns on one state directory.

use std::process::Child;

use kiln_testbed::{assert_no_leftovers, need, need_root};

use crate::acceptance::harness::{Kiln, is_cached, succeeded};

#[test]
fn of_several_kilns_one_runs_a_step_and_all_get_its_result() {
    need!(need_root());
    let kiln = need!(Kiln::with_bases(&["busybox"]));
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
        .map(|child| succeeded(&["build"], child.wait_with_output().unwrap()).1)
        .collect();
    let step = "RUN sleep 1; head -c 8 /dev/urandom > /r";
    let ran = progress
        .iter()
        .filter(|progress| !is_cached(progress, step))
        .count();
    assert_eq!(ran, 1, "{progress:#?}");
    let (ids, _) = kiln.run(&["images", "-q", "--no-trunc"]);
    let mut ids: Vec<&str> = ids.lines().collect();
    assert_eq!(ids.len(), 4);
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert_no_leftovers(&kiln.root());
}
