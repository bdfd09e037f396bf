//! Collection beside others, and where there is no room for it.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use kiln_testbed::{Ended, Kiln, Tool, need, need_root};

use super::Cached as _;
use crate::program;

/// A build needs the layers of its base only when a step looks at them, perhaps long after it has
/// found the image.
#[test]
fn an_image_that_loses_its_name_during_a_build_from_it_stays_until_its_end() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.write("ctx/content", "of the base");
    kiln.dockerfile("FROM scratch\nCOPY content /content\n");
    kiln.ok(&["build", "-q", "-t", "base", "ctx"]);
    kiln.dockerfile(
        "FROM scratch AS slow\nCOPY busybox /busybox\nRUN [\"/busybox\", \"sleep\", \"2\"]\n\
         FROM base\nCOPY --from=slow /busybox /busybox\n",
    );
    let before = kiln.layers().len();
    let mut build = kiln.command();
    build.args(["build", "-t", "app", "ctx"]);
    let mut build = build
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while kiln.layers().len() == before && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(5));
    }
    kiln.ok(&["rmi", "base"]);
    kiln.ok(&["system", "prune", "-af"]);
    assert!(build.try_wait().unwrap().is_none());
    let ended = Ended::from(build.wait_with_output().unwrap());
    assert_eq!(ended.code, 0, "{ended:#?}");
    assert_eq!(
        kiln.ok(&["run", "--rm", "app", "/busybox", "cat", "/content"]),
        "of the base"
    );
}

#[test]
fn prunes_at_once_all_end() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.dockerfile("FROM scratch\nCOPY busybox /busybox\n");
    kiln.ok(&["build", "-q", "ctx"]);
    let prunes: Vec<_> = (0..6)
        .map(|_| {
            let mut prune = kiln.command();
            prune.args(["system", "prune", "-af"]);
            prune
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for prune in prunes {
        let ended = Ended::from(prune.wait_with_output().unwrap());
        assert_eq!(ended.code, 0, "{ended:#?}");
    }
    assert!(kiln.layers().is_empty());
}

/// Fills a disk to its last inode.
const NO_INODES: &str = r#"
mount -t tmpfs -o size=64m,nr_inodes=1000 none "$KILN_ROOT"
"$kiln" build -q ctx >/dev/null
i=0; while true >"$KILN_ROOT/fill$i"; do i=$((i + 1)); done 2>/dev/null
"$kiln" system prune -af >pruned 2>said
echo "prune $? $(grep -c 'Total reclaimed space: 0B' pruned)"
cat said
rm "$KILN_ROOT"/fill*
"$kiln" build -q -t app ctx >/dev/null
"$kiln" run --rm app /busybox echo built
"#;

#[test]
fn a_disk_without_a_free_inode_is_pruned() {
    need!(need_root());
    let unshare = need!(Tool::find("unshare"));
    let kiln = need!(Kiln::for_builds(program()));
    kiln.dockerfile("FROM scratch\nCOPY busybox /busybox\n");
    fs::create_dir_all(kiln.scratch.join("state")).unwrap();
    let mut command = unshare.command();
    command.args(["--mount", "--propagation", "private", "sh", "-c", NO_INODES]);
    let mut command = kiln.bind(command, &kiln.state());
    command.env("kiln", env!("CARGO_BIN_EXE_kiln"));
    let ended = Ended::from(command.output().unwrap());
    assert_eq!(ended.stdout, "prune 0 0\nbuilt\n", "{ended:#?}");
}
