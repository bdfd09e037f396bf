//! Killed at any instant: the store stays usable, and the next build makes the same image.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use kiln_testbed::{Ended, Kiln, assert_no_leftovers, image_tree, need, need_root};

use crate::program;

const KILLS: u64 = 50;

#[test]
fn a_killed_build_leaves_nothing_behind_and_breaks_nothing() {
    need!(need_root());
    let (kiln, _registry) = need!(Kiln::with_bases(program(), &["busybox"]));
    let dockerfile = "FROM busybox AS one\n\
        RUN i=0; while [ $i -lt 40 ]; do echo $i > /file$i; i=$((i+1)); done\n\
        COPY tree /tree\n\
        RUN mkdir /moved && mv /file1* /moved && rm /tree/a/0\n\
        FROM busybox\n\
        COPY --from=one /tree /tree\n\
        WORKDIR /work\n\
        RUN cp -r /tree . && sleep 0.01\n\
        COPY . .\n";
    let files: Vec<(String, String)> = (0..60)
        .map(|i| {
            (
                format!("tree/{}/{i}", ["a", "b"][i % 2]),
                format!("{i}\n").repeat(i),
            )
        })
        .collect();
    let mut all: Vec<(&str, &str)> = files
        .iter()
        .map(|(a, b)| (a.as_str(), b.as_str()))
        .collect();
    all.push(("Dockerfile", dockerfile));
    let context = kiln.context("context", &all);
    let expected = tree_of_a_build(&kiln, &context, "undisturbed");

    // Delays spread over the time that a whole build takes, by the golden ratio.
    let begun = std::time::Instant::now();
    kiln.build(&context, &["--no-cache"]);
    let whole = begun.elapsed();
    for round in 0..KILLS {
        let fraction = (round as f64 * 0.618_033_988_749_895).fract();
        // A fresh store every few rounds, so that pulls are interrupted too.
        let root = kiln.scratch.join(format!("state-{}", round / 10));
        let mut child = kiln
            .command_on(&root)
            .args(["build", "-q", "-t", "crash"])
            .args((round % 3 == 1).then_some("--no-cache"))
            .arg(&context)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(whole.mul_f64(fraction));
        kill(&mut child);
        assert_no_leftovers(&root);
    }
    for store in 0..KILLS.div_ceil(10) {
        assert_eq!(
            tree_of_a_build(&kiln, &context, &format!("state-{store}")),
            expected
        );
    }
}

fn kill(child: &mut Child) {
    // A build that was faster is over, and that is as good a moment as any.
    let _ = child.kill();
    child.wait().unwrap();
    // The kernel ends the steps of a killed kiln on its own.
    std::thread::sleep(Duration::from_millis(1));
}

/// Builds on the named state directory and lists the image's files.
fn tree_of_a_build(kiln: &Kiln, context: &Path, state: &str) -> Vec<String> {
    let layout = kiln.scratch.join(format!("layout-{state}"));
    let mut command = kiln.command_on(&kiln.scratch.join(state));
    command
        .args(["build", "-t", "crash:v1", "-o"])
        .arg(format!("type=oci,tar=false,dest={}", layout.display()));
    Ended::of(command.arg(context)).succeeded(&["build"]);
    image_tree(&layout, "v1").unwrap()
}
