//! Base images are made once, by the program that stands in for kiln.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use kiln_testbed::{Bases, Buildah, Scratch, image_tree, need, need_root};

/// Writes a program with the two verbs that bases need, which leaves the work to buildah and
/// notes each build.
fn stand_in(path: &Path, notes: &Path) {
    let script = format!(
        r#"#!/bin/bash
set -euo pipefail
store="--root $KILN_ROOT/storage --runroot $KILN_ROOT/run --storage-driver overlay"
verb=$1
shift
case $verb in
    build)
        echo built >> {notes}
        [ "$1 $2 $3" = "--progress plain --pull" ]
        shift 3
        exec buildah $store bud --runtime runc --network host --tls-verify=false "$@" ;;
    push) exec buildah $store push --tls-verify=false "$1" "docker://$1" ;;
esac
"#,
        notes = notes.display()
    );
    fs::write(path, script)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o755)))
        .expect("the directory is ours");
}

#[test]
fn a_base_is_made_once_per_kiln() {
    need!(need_root());
    need!(Buildah::new(None));
    let scratch = Scratch::new();
    let kiln = scratch.join("kiln");
    let notes = scratch.join("notes");
    stand_in(&kiln, &notes);
    let builds = || {
        fs::read_to_string(&notes)
            .unwrap_or_default()
            .lines()
            .count()
    };

    let bases = Bases::below(&scratch.join("bases"), &kiln);
    let first = need!(bases.layout("busybox"));
    let tree = need!(image_tree(&first, "latest"));
    assert!(tree.contains(&"tmp directory 1777 0:0".to_owned()));
    assert!(tree.iter().any(|line| line.starts_with("bin/sh symlink ")));
    assert_eq!(builds(), 1);

    assert_eq!(need!(bases.layout("busybox")), first);
    assert_eq!(builds(), 1, "the second time it is there");

    let other = scratch.join("other-kiln");
    stand_in(&other, &notes);
    fs::write(
        &other,
        fs::read_to_string(&other).unwrap() + "# another version\n",
    )
    .unwrap();
    let second = need!(Bases::below(&scratch.join("bases"), &other).layout("busybox"));
    assert_ne!(second, first);
    assert_eq!(builds(), 2, "another kiln makes its own");
    assert!(!first.exists(), "and replaces the old one");

    let registry = need!(Bases::below(&scratch.join("bases"), &other).serve_alone(&["busybox"]));
    let served = registry
        .storage()
        .join("docker/registry/v2/repositories/library/busybox");
    assert!(served.is_dir());
}
