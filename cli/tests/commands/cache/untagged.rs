//! Images that a build made and whose last name moved on: they are cache.

use kiln_testbed::{Kiln, need};

use super::Cached as _;
use crate::program;

/// Builds `app` anew with other content, and returns the id of the image.
#[track_caller]
fn rebuild(kiln: &Kiln, content: &str) -> String {
    kiln.write("ctx/content", content);
    kiln.dockerfile("FROM scratch\nCOPY busybox /busybox\nCOPY content /content\n");
    kiln.build_id(&["-t", "app"])
}

/// Takes everything out of the cache that may go.
#[track_caller]
fn prune(kiln: &Kiln) {
    kiln.ok(&["cache", "prune", "-f", "--max-used-space", "0"]);
}

fn ids(kiln: &Kiln, arguments: &[&str]) -> Vec<String> {
    let listed = [&["images", "-q", "--no-trunc"], arguments].concat();
    let mut ids: Vec<String> = kiln.ok(&listed).lines().map(str::to_owned).collect();
    ids.sort();
    // An image has a line for each of its names.
    ids.dedup();
    ids
}

fn sorted(ids: &[&String]) -> Vec<String> {
    let mut ids: Vec<String> = ids.iter().map(|id| (*id).clone()).collect();
    ids.sort();
    ids
}

#[test]
fn untagged_images_are_listed_when_asked_for() {
    let kiln = need!(Kiln::for_builds(program()));
    let (old, new) = (rebuild(&kiln, "1"), rebuild(&kiln, "2"));
    assert_eq!(ids(&kiln, &[]), sorted(&[&new]));
    assert_eq!(ids(&kiln, &["-a"]), sorted(&[&old, &new]));
    let dangling = |value: &str| ids(&kiln, &["-f", &format!("dangling={value}")]);
    assert_eq!(dangling("true"), [old]);
    assert_eq!(dangling("false"), [new]);
}

#[test]
fn untagged_images_go_with_the_cache_and_named_ones_stay() {
    let kiln = need!(Kiln::for_builds(program()));
    let old = rebuild(&kiln, "1");
    kiln.ok(&["tag", "app", "other"]);
    let new = rebuild(&kiln, "2");
    prune(&kiln);
    assert_eq!(ids(&kiln, &["-a"]), sorted(&[&old, &new]));
    // A name that is taken away and one that is given to another image are the same.
    kiln.ok(&["tag", "app", "other"]);
    let description = kiln.ok(&["cache", "du", "--format", "{{.ID}} {{.Description}}"]);
    let short = &old["sha256:".len()..][..12];
    let line = format!("{short} image without a name");
    assert!(
        description.lines().any(|found| found == line),
        "{description}"
    );
    let before = kiln.layers().len();
    prune(&kiln);
    assert_eq!(ids(&kiln, &["-a"]), sorted(&[&new]));
    assert_eq!(kiln.layers().len(), before - 1);
    let ended = kiln.run(&["inspect", &old]);
    assert_eq!(ended.code, 1, "{ended:#?}");
    assert_eq!(
        kiln.ok(&["run", "--rm", "app", "/busybox", "cat", "/content"]),
        "2"
    );
    assert_eq!(kiln.ok(&["cache", "verify"]).lines().count(), 1);
    rebuild(&kiln, "1");
    assert_eq!(
        kiln.ok(&["run", "--rm", "app", "/busybox", "cat", "/content"]),
        "1"
    );
}

#[test]
fn untagged_images_that_somebody_needs_or_asked_for_stay() {
    let kiln = need!(Kiln::for_builds(program()));
    let nameless = {
        rebuild(&kiln, "0");
        kiln.write("ctx/content", "nameless");
        kiln.build_id(&[])
    };
    let contained = rebuild(&kiln, "1");
    kiln.ok(&["run", "--name", "one", "app", "/busybox", "true"]);
    let asked = rebuild(&kiln, "2");
    let _ = rebuild(&kiln, "3");
    kiln.ok(&["run", "--rm", &asked, "/busybox", "true"]);
    let saved = rebuild(&kiln, "4");
    let loaded = rebuild(&kiln, "5");
    kiln.ok(&["save", "-o", "app.tar", "app"]);
    kiln.ok(&["load", "-i", "app.tar"]);
    let last = rebuild(&kiln, "6");
    kiln.ok(&["save", "-o", "again.tar", &saved]);
    prune(&kiln);
    let kept = [&nameless, &contained, &asked, &saved, &loaded, &last];
    assert_eq!(ids(&kiln, &["-a"]), sorted(&kept));
    // Without its container one is cache again.
    kiln.ok(&["rm", "one"]);
    prune(&kiln);
    assert_eq!(
        ids(&kiln, &["-a"]),
        sorted(&[&nameless, &asked, &saved, &loaded, &last])
    );
}

#[test]
fn untagged_images_stay_where_the_user_wants_them() {
    let kiln = need!(Kiln::for_builds(program()));
    let (old, new) = (rebuild(&kiln, "1"), rebuild(&kiln, "2"));
    let mut command = kiln.command();
    command.env("KILN_CACHE_KEEP_UNTAGGED", "true");
    command.args(["cache", "prune", "-af"]);
    assert!(command.status().unwrap().success());
    assert_eq!(ids(&kiln, &["-a"]), sorted(&[&old, &new]));
    assert_eq!(
        kiln.ok(&["run", "--rm", &old, "/busybox", "cat", "/content"]),
        "1"
    );
}
