//! Ctrl-C: every step ends, and nothing remains.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use kiln_testbed::{Kiln, assert_no_leftovers, need, need_root};

use crate::program;

#[test]
fn an_interrupted_build_stops_its_steps_and_says_so() {
    need!(need_root());
    let (kiln, _registry) = need!(Kiln::with_bases(program(), &["busybox"]));
    let context = kiln.context(
        "context",
        &[(
            "Dockerfile",
            "FROM busybox AS one\nRUN trap '' INT TERM; echo waiting one; sleep 3600\n\
             FROM busybox AS two\nRUN echo waiting two; sleep 3600 & wait\n\
             FROM busybox\nCOPY --from=one / /one\nCOPY --from=two / /two\n",
        )],
    );
    let mut child = kiln
        .command()
        .args(["build", "--progress", "plain", "-t", "interrupted"])
        .arg(&context)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut waiting = 0;
    while waiting < 2 {
        let line = lines.next().expect("both steps begin").unwrap();
        // The step's own line, not its name.
        waiting += usize::from(line.ends_with(" waiting one") || line.ends_with(" waiting two"));
    }
    let status = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(status.success());
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:?}");
    assert!(
        rest.iter().any(|line| line.ends_with(" CANCELED")),
        "{rest:?}"
    );
    assert_no_leftovers(&kiln.state());
    let images = kiln.ok(&["images", "-q"]);
    assert_eq!(images, "");
    let left = std::fs::read_dir(kiln.state().join("work"))
        .unwrap()
        .count();
    assert_eq!(left, 0, "unfinished work stays behind");
}
