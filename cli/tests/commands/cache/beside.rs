//! Collection beside others, and where there is no room for it.

use std::fs;
use std::process::Stdio;

use kiln_cache::{Blobs, Store};
use kiln_oci::Sha256;
use kiln_testbed::{Ended, Kiln, Tool, need, need_root};

use super::Cached as _;
use crate::program;

/// Another kiln has found the image by its manifest, and comes to its layers later.
#[test]
fn a_manifest_in_use_keeps_the_layers_it_leads_to() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.dockerfile("FROM scratch\nCOPY busybox /busybox\n");
    kiln.ok(&["build", "-q", "-t", "app", "ctx"]);
    let tag = kiln.state().join("refs/docker.io/library/app/_tag/latest");
    let manifest: Sha256 = fs::read_to_string(tag).unwrap().trim().parse().unwrap();
    let other = Store::open(&kiln.state()).unwrap();
    other.admit_collection();
    assert!(Blobs::new(&other).contains(manifest));
    kiln.ok(&["rmi", "app"]);
    kiln.ok(&["system", "prune", "-af"]);
    assert_eq!(kiln.layers().len(), 1);
    assert!(Blobs::new(&other).contains(manifest));
    drop(other);
    kiln.ok(&["system", "prune", "-af"]);
    assert!(kiln.layers().is_empty());
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
