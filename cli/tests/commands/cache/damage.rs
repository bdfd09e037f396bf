//! Damage in the state directory: what verify finds, and what becomes of it.

use std::fs;

use kiln_testbed::{Kiln, need};

use super::{Cached as _, spread};
use crate::commands::harness::names;
use crate::program;

#[test]
fn damage_is_found_and_repaired() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.dockerfile("FROM scratch\nCOPY busybox /b\nCOPY Dockerfile /d\n");
    let id = kiln.build_id(&["-o", "type=cacheonly"]);
    let whole = kiln.ok(&["cache", "verify"]);
    assert!(whole.ends_with(": no damage"), "{whole}");
    let layer = kiln
        .layers()
        .into_iter()
        .find(|layer| layer.join("diff/d").exists())
        .unwrap();
    fs::write(layer.join("diff/d"), "something else").unwrap();
    let found = kiln.run(&["cache", "verify", "--no-repair"]);
    assert_eq!(found.code, 1, "{found:#?}");
    assert!(found.stdout.starts_with("damaged: layer "), "{found:#?}");
    assert!(found.stdout.contains(": /d: content changed"), "{found:#?}");
    let repaired = kiln.run(&["cache", "verify"]);
    assert_eq!(repaired.code, 0, "{repaired:#?}");
    assert!(
        repaired.stdout.starts_with("discarded: layer "),
        "{repaired:#?}"
    );
    assert!(!layer.exists());
    assert!(kiln.tombstones().contains(" damage\n"));
    assert_eq!(kiln.build_id(&["-o", "type=cacheonly"]), id);
    assert!(layer.exists());
    assert!(kiln.ok(&["cache", "verify"]).ends_with(": no damage"));
}

#[test]
fn a_packed_layer_is_unpacked_again() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.dockerfile("FROM scratch\nCOPY busybox /b\n");
    kiln.ok(&["build", "-t", "app", "-o", "type=oci,dest=app.tar", "ctx"]);
    let layer = kiln.layers().remove(0);
    let damage = || {
        fs::remove_file(layer.join("diff/b")).unwrap();
        fs::write(layer.join("diff/b"), "x").unwrap();
    };
    damage();
    let repaired = kiln.run(&["cache", "verify"]);
    assert_eq!(repaired.code, 0, "{repaired:#?}");
    assert!(
        repaired.stdout.starts_with("repaired: layer "),
        "{repaired:#?}"
    );
    assert!(kiln.ok(&["cache", "verify"]).ends_with(": no damage"));
    // A damaged blob goes, and what it was made of makes it again.
    let blob = spread(&kiln.state().join("blobs/sha256"))
        .into_iter()
        .max_by_key(|blob| fs::metadata(blob).unwrap().len())
        .unwrap();
    fs::write(&blob, "x").unwrap();
    let repaired = kiln.run(&["cache", "verify"]);
    assert_eq!(repaired.code, 0, "{repaired:#?}");
    assert!(
        repaired.stdout.starts_with("discarded: blob sha256:"),
        "{repaired:#?}"
    );
    kiln.ok(&["build", "-t", "app", "-o", "type=oci,dest=again.tar", "ctx"]);
    assert!(blob.exists());
}

#[test]
fn names_and_facts_are_repaired_or_discarded() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.dockerfile("FROM scratch\nCOPY busybox /b\nCOPY Dockerfile /d\n");
    let build = || kiln.ok(&["build", "-q", "-t", "app", "ctx"]);
    build();
    kiln.ok(&["tag", "app", "torn"]);
    // A layer cannot be found by its digest any more.
    for name in names(&kiln.state().join("diffs")) {
        fs::remove_file(kiln.state().join("diffs").join(name)).unwrap();
    }
    let repaired = kiln.run(&["cache", "verify"]);
    assert_eq!(repaired.code, 0, "{repaired:#?}");
    assert!(
        repaired
            .stdout
            .contains(": it is not found by its diff id "),
        "{repaired:#?}"
    );
    assert!(!repaired.stdout.contains("discarded"), "{repaired:#?}");
    kiln.ok(&["save", "-o", "app.tar", "app"]);
    // What is known of its tar is torn, and the file of a name.
    let layer = kiln.layers().remove(0);
    fs::write(layer.join("facts"), "{").unwrap();
    let torn = kiln.state().join("refs/docker.io/library/torn/_tag/latest");
    fs::write(&torn, "").unwrap();
    let repaired = kiln.run(&["cache", "verify"]);
    assert!(
        repaired
            .stdout
            .contains(&format!("discarded: name {}: ", torn.display())),
        "{repaired:#?}"
    );
    assert!(
        repaired
            .stdout
            .contains(": what is known of its tar is damaged"),
        "{repaired:#?}"
    );
    assert!(!torn.exists() && layer.exists(), "{repaired:#?}");
    build();
    assert_eq!(kiln.run(&["cache", "verify"]).code, 0);
    kiln.ok(&["save", "-o", "app.tar", "app"]);
}

#[test]
fn a_layer_that_lost_its_files_is_unpacked_from_its_blob() {
    let kiln = need!(Kiln::for_builds(program()));
    let random = "RUN read id < /proc/sys/kernel/random/uuid; echo $id > /made\n";
    let build = |further: &str| {
        kiln.dockerfile(&format!(
            "FROM scratch\nCOPY busybox /bin/sh\n{random}{further}"
        ));
        kiln.ok(&["build", "-o", "type=oci,dest=app.tar", "ctx"]);
        kiln.ok(&["build", "-o", "out", "ctx"]);
        fs::read_to_string(kiln.scratch.join("out/made")).unwrap()
    };
    let made = build("");
    for layer in kiln.layers() {
        fs::remove_dir_all(layer.join("diff")).unwrap();
    }
    assert_eq!(build("RUN echo again > /again\n"), made);
}

#[test]
fn a_layer_that_lost_its_files_is_made_again() {
    let kiln = need!(Kiln::for_builds(program()));
    let build = |further: &str| {
        kiln.dockerfile(&format!(
            "FROM scratch\nCOPY busybox /bin/sh\nRUN echo made > /made\n{further}"
        ));
        kiln.run(&["build", "-o", "type=cacheonly", "ctx"])
    };
    build("");
    for layer in kiln.layers() {
        fs::remove_dir_all(layer.join("diff")).unwrap();
    }
    // A build that needs them.
    let ended = build("RUN read word < /made; echo $word > /again\n");
    assert_eq!(ended.code, 0, "{ended:#?}");
    let found = kiln.run(&["cache", "verify"]);
    assert!(found.stdout.ends_with(": no damage\n"), "{found:#?}");
    // And who looks for damage.
    for layer in kiln.layers() {
        fs::remove_dir_all(layer.join("diff")).unwrap();
    }
    let found = kiln.run(&["cache", "verify"]);
    assert_eq!(found.code, 0, "{found:#?}");
    assert!(
        found.stdout.contains(": its files are gone\n"),
        "{found:#?}"
    );
    assert!(kiln.layers().is_empty());
}

#[test]
fn images_that_lose_a_layer_are_named() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.dockerfile("FROM scratch\nCOPY busybox /b\n");
    kiln.ok(&["build", "-t", "app", "ctx"]);
    let layer = kiln.layers().remove(0);
    fs::remove_file(layer.join("diff/b")).unwrap();
    for _ in 0..2 {
        let found = kiln.run(&["cache", "verify"]);
        assert_eq!(found.code, 1, "{found:#?}");
        assert!(
            found
                .stdout
                .contains("lost: image app:latest lacks layer sha256:"),
            "{found:#?}"
        );
        assert!(
            found
                .stdout
                .contains("hint: build, pull or load app:latest again"),
            "{found:#?}"
        );
    }
    kiln.ok(&["build", "-t", "app", "ctx"]);
    assert_eq!(kiln.run(&["cache", "verify"]).code, 0);
}
