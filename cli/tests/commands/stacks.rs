//! Layers that have files in common on disk, which must not show.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use kiln_testbed::{Kiln, need};

use crate::program;

/// Programs see how many names a file has: cron does nothing for one with two. So no other image may
/// show in it.
#[test]
fn files_have_one_name_whatever_is_copied_from_them() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.write("ctx/file", "content");
    kiln.dockerfile(
        "FROM scratch AS one\n\
         COPY busybox /bin/busybox\n\
         COPY busybox /bin/sh\n\
         COPY file /file\n\
         FROM one\n\
         COPY --from=one /file /copy\n\
         COPY --from=one --link /file /again\n\
         RUN busybox mkdir /both && busybox cp -a /file /copy /again /both\n",
    );
    kiln.ok(&["build", "-t", "app", "ctx"]);
    kiln.ok(&["build", "-o", "out", "ctx"]);
    let out = kiln.scratch.join("out");
    for name in ["file", "copy", "again"] {
        let file = out.join("both").join(name);
        assert_eq!(fs::metadata(&file).unwrap().nlink(), 1, "{name}");
        assert_eq!(fs::read_to_string(file).unwrap(), "content");
    }
    kiln.write(
        "other/Dockerfile",
        "FROM scratch\nCOPY --from=app /file /copy /mine/\n",
    );
    kiln.ok(&["build", "-t", "other", "other"]);
    let script = "busybox stat -c '%n %h' /file /copy /again /both/copy";
    let counts = kiln.ok(&["run", "--rm", "app", "sh", "-c", script]);
    assert_eq!(counts, "/file 1\n/copy 1\n/again 1\n/both/copy 1");
}

/// The first of two layers has most files of the second, and must stay when its image goes.
#[test]
fn collecting_garbage_leaves_what_a_layer_lies_on() {
    let kiln = need!(Kiln::for_builds(program()));
    let expected = |changed: &str| -> String {
        let lines = (0..100).map(|number| match number {
            7 => format!("{changed}\n"),
            number => format!("{number}\n"),
        });
        lines.collect()
    };
    for number in 0..100 {
        kiln.write(format!("ctx/many/{number:03}"), &format!("{number}\n"));
    }
    let build = || kiln.build_shell("app", "COPY many /many\nRUN busybox cat /many/* > /all");
    let collect = || {
        kiln.ok(&["image", "prune", "--force"]);
        kiln.ok(&["cache", "prune", "--all", "--force"]);
        assert!(kiln.ok(&["cache", "verify"]).ends_with(": no damage"));
    };
    let all = || kiln.ok(&["run", "--rm", "app", "/bin/busybox", "cat", "/all"]);
    build();
    kiln.write("ctx/many/007", "seven\n");
    build();
    let layers = kiln.scratch.join("state/layers");
    let lying = || {
        let groups = fs::read_dir(&layers).unwrap();
        let places = groups.flat_map(|group| fs::read_dir(group.unwrap().path()).unwrap());
        places
            .filter(|place| place.as_ref().unwrap().path().join("upon").exists())
            .count()
    };
    assert_eq!(lying(), 1);
    collect();
    assert_eq!(lying(), 1);
    assert_eq!(all().trim(), expected("seven").trim());
    // What is built next lies on the same.
    kiln.write("ctx/many/007", "again\n");
    build();
    collect();
    assert_eq!(all().trim(), expected("again").trim());
    kiln.ok(&["rmi", "app"]);
    collect();
    assert_eq!(lying(), 0);
}
