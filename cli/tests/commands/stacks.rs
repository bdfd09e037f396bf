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

/// The kernel stacks 500 directories. Each file of these layers, and what later ones remove, shows in
/// a step, in a container, and after the cache was emptied under it.
#[test]
fn images_of_more_layers_than_the_kernel_mounts_are_built_and_run() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.write("ctx/file", "content");
    let copies: String = (0..600)
        .map(|number| format!("COPY file /d{}/f{number}\n", number % 7))
        .collect();
    let count = "busybox find / -xdev -name 'f[0-9]*' | busybox wc -l";
    kiln.build_shell(
        "app",
        &format!(
            "{copies}RUN busybox rm -r /d3 && busybox touch /d4/new\n\
             RUN {count} > /count && busybox ls -d /d* > /names"
        ),
    );
    let run = |arguments: &[&str], script: &str| {
        let command = [arguments, &["app", "sh", "-c", script]].concat();
        kiln.ok(&command)
    };
    let left = (0..600).filter(|number| number % 7 != 3).count();
    let script = format!("busybox cat /count /names; {count}; busybox stat -c %h /d0/f0");
    let expected = format!("{left}\n/d0\n/d1\n/d2\n/d4\n/d5\n/d6\n/dev\n{left}\n1");
    assert_eq!(run(&["run", "--rm"], &script), expected);
    run(&["run", "--name", "kept"], "busybox touch /d0/own");
    kiln.ok(&["system", "prune", "-af", "--filter", "until=1h"]);
    kiln.ok(&["cache", "prune", "-af"]);
    kiln.ok(&["start", "kept"]);
    assert_eq!(kiln.ok(&["wait", "kept"]), "0");
    kiln.ok(&["rm", "kept"]);
    assert_eq!(run(&["run", "--rm"], &script), expected);
}
