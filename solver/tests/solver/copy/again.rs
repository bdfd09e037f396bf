//! What the next build does not do again.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use kiln_oci::Timestamp;
use kiln_solver::Fate;

use super::bench::{Bench, Built};

/// DF-125, DF-161, DF-164, and early cut-off.
#[test]
fn steps_with_unchanged_inputs_do_not_run_again() {
    let bench = Bench::new(&["a", "b", "d/x"]);
    let text =
        "COPY a /a\nCOPY d /d\nWORKDIR /w\nFROM scratch\nCOPY --from=0 /d /e\nCOPY --from=0 /a /f";
    let ran = |built: &Built| -> Vec<bool> {
        built
            .fates
            .iter()
            .map(|fate| matches!(fate, Fate::Ran { .. }))
            .collect()
    };
    assert_eq!(ran(&bench.build(text)), [true, true, true, true, true]);
    assert_eq!(ran(&bench.build(text)), [false; 5]);
    // A time, and a file that no step reads.
    let touched = fs::File::options()
        .write(true)
        .open(bench.path("a"))
        .unwrap();
    touched.set_modified(std::time::UNIX_EPOCH).unwrap();
    bench.write("b", "changed");
    assert_eq!(ran(&bench.build(text)), [false; 5]);
    // What does not change what a stage gives lets its consumers be.
    bench.write("a", "changed");
    let built = bench.build(text);
    assert_eq!(ran(&built), [true, true, true, false, true]);
    bench.mode("a", 0o600);
    assert!(ran(&bench.build(text))[0]);
    // Moving and renaming stages changes nothing.
    let moved = "COPY a /a\nCOPY d /d\nWORKDIR /w\nFROM scratch AS named\nCOPY   --from=0 /d \\\n /e\nCOPY --from=0 /a /f";
    assert_eq!(ran(&bench.build(moved)), [false; 5]);
    let entry = bench.build(text).view;
    let path = kiln_files::GuestPath::new("f");
    let expected = fs::metadata(bench.path("a")).unwrap().modified().unwrap();
    let expected = Timestamp::from(expected).whole_seconds();
    assert_eq!(entry.get(&path).unwrap().mtime, expected);
}

#[test]
fn a_state_directory_that_lost_a_layer_builds_it_again() {
    let bench = Bench::new(&["a"]);
    let first = bench.build("COPY a /a\nCOPY a /b");
    let layers = bench.directory.path().join("state/layers");
    remove(&layers);
    let second = bench.build("COPY a /a\nCOPY a /b");
    assert_eq!(first.lines, second.lines);
}

fn remove(directory: &Path) {
    fs::remove_dir_all(directory).unwrap();
}

/// A layer of which little is new lies on the files of the one that the same copy made before.
#[test]
fn a_layer_of_which_little_changed_holds_little() {
    let names: Vec<String> = (0..100).map(|number| format!("{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let bench = Bench::new(&names);
    let text = "COPY . /dir/";
    let last = |built: &Built| built.view.layers().last().unwrap().clone();
    let first = last(&bench.build(text));
    assert_eq!(first.donor(), None);
    // What it becomes must be what an empty store makes of it.
    let check = |bench: &Bench| {
        let built = bench.build(text);
        let layer = last(&built);
        let diff_id = layer.canonical_tar().unwrap().diff_id;
        let state = bench.directory.path().join("state");
        fs::rename(&state, bench.directory.path().join("kept")).unwrap();
        let alone = bench.build(text);
        assert_eq!(built.lines, alone.lines);
        assert_eq!(last(&alone).donor(), None);
        assert_eq!(diff_id, last(&alone).canonical_tar().unwrap().diff_id);
        remove(&state);
        fs::rename(bench.directory.path().join("kept"), &state).unwrap();
        layer
    };
    bench.write("7", "seven");
    let second = check(&bench);
    assert_eq!(second.donor(), Some(first.clone()));
    let files = second.unpacked().unwrap();
    let own = files.directories().next().unwrap();
    assert_eq!(fs::read_dir(own.join("dir")).unwrap().count(), 1);
    // The next one does not lie on this one, but beside it.
    bench.write("8", "eight");
    bench.write("new/file", "new");
    let third = check(&bench);
    assert_eq!(third.donor(), Some(first.clone()));
    fs::set_permissions(bench.path("9"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(check(&bench).donor(), Some(first.clone()));
    // What was deleted cannot be hidden: it may be below, too, and stay there.
    fs::remove_file(bench.path("10")).unwrap();
    let whole = check(&bench);
    assert_eq!(whole.donor(), None);
    fs::remove_file(bench.path("11")).unwrap();
    fs::create_dir(bench.path("11")).unwrap();
    let whole = check(&bench);
    assert_eq!(whole.donor(), None);
    symlink("12", bench.path("link")).unwrap();
    assert_eq!(check(&bench).donor(), Some(whole.clone()));
    fs::remove_file(bench.path("link")).unwrap();
    fs::hard_link(bench.path("12"), bench.path("link")).unwrap();
    assert_eq!(check(&bench).donor(), None);
}

#[test]
fn a_layer_without_the_files_that_it_lies_on_is_made_again() {
    let names: Vec<String> = (0..100).map(|number| format!("{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let bench = Bench::new(&names);
    let first = bench.build("COPY . /");
    bench.write("7", "seven");
    let second = bench.build("COPY . /");
    let below = first.view.layers().last().unwrap();
    let files = below.unpacked().unwrap();
    let layer = files
        .directories()
        .next()
        .unwrap()
        .parent()
        .unwrap()
        .to_owned();
    remove(&layer);
    let third = bench.build("COPY . /");
    assert_eq!(second.lines, third.lines);
    let made = third.view.layers().last().unwrap();
    assert_eq!(made.id(), second.view.layers().last().unwrap().id());
    assert_eq!(made.donor(), None);
    assert!(made.verify(kiln_snapshotter::Whiteouts::Stored).is_empty());
}

/// A program sees how many names a file has: some leave alone what has more than one, as cron does.
#[test]
fn layers_share_no_file() {
    use std::os::unix::fs::MetadataExt as _;

    let bench = Bench::new(&["kept", "changed"]);
    let names = |built: &Built| {
        let found = built.view.walk(&kiln_files::GuestPath::ROOT);
        let paths = found.map(|found| built.view.host_path(&found).unwrap());
        let names: Vec<u64> = paths
            .map(|path| fs::symlink_metadata(path).unwrap())
            .filter(|metadata| metadata.is_file())
            .map(|metadata| metadata.nlink())
            .collect();
        names
    };
    let first = bench.build("COPY . /");
    bench.write("changed", "other");
    let second = bench.build("COPY . /");
    assert_eq!(second.lines, ["changed 644 \"other\"", "kept 644"]);
    let from =
        bench.build("COPY . /\nFROM scratch\nCOPY --from=0 / /a/\nCOPY --from=0 --link / /b/");
    assert_eq!(from.lines.len(), 6, "{:?}", from.lines);
    for built in [&first, &second, &from] {
        let names = names(built);
        assert!(names.iter().all(|&count| count == 1), "{names:?}");
    }
    // The earlier layer is what it was.
    let changed = kiln_files::GuestPath::new("changed");
    let before = first.view.read(&changed, 9).unwrap().unwrap();
    assert_eq!(before, b"changed");
}

#[test]
fn a_damaged_file_of_a_layer_is_not_copied() {
    let bench = Bench::new(&["good", "bad"]);
    let first = bench.build("COPY . /");
    let bad = kiln_files::GuestPath::new("bad");
    let found = first.view.find(&bad).unwrap();
    fs::write(first.view.host_path(&found).unwrap(), "BAD").unwrap();
    let layer = first.view.layers().last().unwrap().id();
    bench.fails(
        "COPY . /\nFROM scratch\nCOPY --from=0 / /a/",
        &format!(
            "file /bad of layer {layer} was changed in the store: `kiln cache verify` repairs or \
             discards the layer"
        ),
    );
}
