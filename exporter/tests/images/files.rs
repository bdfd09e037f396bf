//! `type=local` and `type=tar`: a root as plain files.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use kiln_exporter::{ExportRoot, Stale, write_file, write_local, write_root_tar};
use kiln_oci::{Platform, Timestamp};
use kiln_snapshotter::{FileContent, Layer, ParentView};
use kiln_testbed::{Scratch, assert_same_tree, list_directory, list_tar, need, need_root};
use kiln_threads::Stop;

use crate::sample::{State, add_files, add_privileged, path, plain};

/// Lines of a listing without the top directory, whose mode is not the image's.
fn below(listing: Vec<String>) -> Vec<String> {
    listing
        .into_iter()
        .filter(|line| !line.starts_with("./ ") && !line.starts_with(". "))
        .collect()
}

fn top(view: &ParentView) -> [ExportRoot<'_>; 1] {
    [ExportRoot::at_top(Platform::host(), view)]
}

fn upper(state: &State) -> Layer {
    state.layer(|builder| {
        builder.add_directory(&path("etc"), &plain(0o700)).unwrap();
        builder.add_whiteout(&path("etc/empty")).unwrap();
        builder
            .add_file(
                &path("etc/hostname"),
                &plain(0o644),
                FileContent::Bytes(b"changed\n"),
            )
            .unwrap();
    })
}

#[test]
fn files_are_written_as_the_merged_root_shows_them() {
    let state = State::new();
    let lower = state.layer(add_files);
    let view = ParentView::new(&[lower.clone(), upper(&state)]).unwrap();
    let target = state.path("out/inner");
    let report = write_local(&top(&view), &target, Stale::Keep, None, &Stop::default()).unwrap();
    assert_eq!(report.left_out, []);
    let mode = |name: &str| {
        let metadata = fs::symlink_metadata(target.join(name)).unwrap();
        metadata.permissions().mode() & 0o7777
    };
    assert_eq!(mode(""), 0o700);
    assert_eq!(mode("etc"), 0o700);
    assert_eq!(mode("usr/bin/su"), 0o4755);
    assert_eq!(mode("var/tmp"), 0o1777);
    assert!(!target.join("etc/empty").exists());
    assert_eq!(fs::read(target.join("etc/hostname")).unwrap(), b"changed\n");
    let link = fs::read_link(target.join("usr/bin/link")).unwrap();
    assert_eq!(link.to_str(), Some("/etc/hostname"));
    let inode = |name: &str| fs::metadata(target.join(name)).unwrap().ino();
    assert_eq!(inode("usr/bin/su"), inode("usr/bin/sudo"));
    for name in ["etc", "etc/hostname", "usr/bin/link", "var/pipe", "deep"] {
        let metadata = fs::symlink_metadata(target.join(name)).unwrap();
        assert_eq!(metadata.mtime(), 1_600_000_000, "{name}");
    }
}

#[test]
fn files_in_the_way_are_replaced_and_links_are_not_followed() {
    let state = State::new();
    let view = ParentView::new(&[state.layer(add_files)]).unwrap();
    let (target, outside) = (state.path("out"), state.path("outside"));
    fs::create_dir_all(target.join("etc/hostname/in the way")).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("su"), "precious").unwrap();
    symlink(&outside, target.join("usr")).unwrap();
    symlink(outside.join("made"), target.join("etc/empty")).unwrap();
    fs::write(target.join("var"), "a file").unwrap();
    fs::write(target.join("extra"), "stays").unwrap();
    fs::write(target.join("etc/extra"), "stays").unwrap();

    write_local(&top(&view), &target, Stale::Keep, None, &Stop::default()).unwrap();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(fs::read(outside.join("su")).unwrap(), b"precious");
    assert_eq!(fs::read(target.join("etc/hostname")).unwrap(), b"kiln\n");
    assert_eq!(fs::read(target.join("usr/bin/su")).unwrap(), b"not really");
    assert_eq!(fs::read(target.join("etc/empty")).unwrap(), b"");
    assert_eq!(fs::read(target.join("extra")).unwrap(), b"stays");
    assert_eq!(fs::read(target.join("etc/extra")).unwrap(), b"stays");

    write_local(&top(&view), &target, Stale::Delete, None, &Stop::default()).unwrap();
    assert!(!target.join("extra").exists());
    assert!(!target.join("etc/extra").exists());
    assert_eq!(fs::read(target.join("etc/hostname")).unwrap(), b"kiln\n");
}

#[test]
fn a_tar_holds_what_the_layers_unpack_to() {
    need!(need_root());
    let state = State::new();
    let lower = state.layer(|builder| {
        add_files(builder);
        add_privileged(builder);
    });
    let view = ParentView::new(&[lower.clone(), upper(&state)]).unwrap();
    let archive = state.path("root.tar");
    let roots = top(&view);
    write_file(&archive, |output| write_root_tar(&roots, None, output)).unwrap();
    let listing = below(need!(list_tar(&archive)));

    // The same by hand: the lower layer as it is, the upper one's change applied.
    let expected = Scratch::new();
    write_local(
        &top(&view),
        expected.path(),
        Stale::Keep,
        None,
        &Stop::default(),
    )
    .unwrap();
    let by_hand = expected.join("dev/owned");
    std::os::unix::fs::chown(&by_hand, Some(1000), Some(3_000_000)).unwrap();
    assert_same_tree(&listing, &below(list_directory(expected.path())));

    let mut again = Vec::new();
    write_root_tar(&roots, None, &mut again).unwrap();
    assert_eq!(fs::read(&archive).unwrap(), again);
}

fn platforms() -> [Platform; 2] {
    ["linux/amd64", "linux/arm/v7"].map(|text| text.parse().unwrap())
}

fn names_in(archive: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap();
    entries
        .map(|entry| String::from_utf8(entry.unwrap().path_bytes().to_vec()).unwrap())
        .collect()
}

#[test]
fn several_platforms_get_a_directory_each() {
    let state = State::new();
    let view = ParentView::new(&[upper(&state)]).unwrap();
    let roots = platforms().map(|platform| ExportRoot::apart(platform, &view));
    let mut bytes = Vec::new();
    write_root_tar(&roots, None, &mut bytes).unwrap();
    assert_eq!(
        names_in(&bytes),
        [
            "linux_amd64/",
            "linux_amd64/etc/",
            "linux_amd64/etc/hostname",
            "linux_arm_v7/",
            "linux_arm_v7/etc/",
            "linux_arm_v7/etc/hostname"
        ]
    );
    let target = state.path("out");
    fs::create_dir_all(target.join("linux_arm_v7/old")).unwrap();
    fs::write(target.join("old"), "").unwrap();
    write_local(&roots, &target, Stale::Keep, None, &Stop::default()).unwrap();
    assert!(target.join("linux_arm_v7/old").exists() && target.join("old").exists());
    write_local(&roots, &target, Stale::Delete, None, &Stop::default()).unwrap();
    assert!(!target.join("linux_arm_v7/old").exists() && !target.join("old").exists());
    for name in ["linux_amd64", "linux_arm_v7"] {
        let file = target.join(name).join("etc/hostname");
        assert_eq!(fs::read(file).unwrap(), b"changed\n");
        let mode = fs::metadata(target.join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o755);
    }
}

#[test]
fn several_platforms_share_a_directory_unless_they_overlap() {
    let state = State::new();
    let with = |name: &str| {
        let layer = state.layer(|builder| {
            builder.add_directory(&path("etc"), &plain(0o755)).unwrap();
            let content = FileContent::Bytes(b"x");
            builder
                .add_file(&path(name), &plain(0o644), content)
                .unwrap();
        });
        ParentView::new(&[layer]).unwrap()
    };
    let (one, two) = (with("etc/one"), with("etc/two"));
    let [first, second] = platforms();
    let roots = [
        ExportRoot::at_top(first.clone(), &one),
        ExportRoot::at_top(second.clone(), &two),
    ];
    let mut bytes = Vec::new();
    write_root_tar(&roots, None, &mut bytes).unwrap();
    assert_eq!(names_in(&bytes), ["etc/", "etc/one", "etc/two"]);
    let target = state.path("out");
    fs::create_dir_all(target.join("etc/old")).unwrap();
    write_local(&roots, &target, Stale::Delete, None, &Stop::default()).unwrap();
    assert!(target.join("etc/one").exists() && target.join("etc/two").exists());
    assert!(!target.join("etc/old").exists());

    let overlapping = [
        ExportRoot::at_top(first, &one),
        ExportRoot::at_top(second, &one),
    ];
    let message = "cannot overwrite etc/one from linux/amd64 with linux/arm/v7 when split option \
                   is disabled";
    let other = state.path("other");
    let refused = write_local(&overlapping, &other, Stale::Keep, None, &Stop::default());
    assert_eq!(refused.unwrap_err().to_string(), message);
    assert!(!other.exists());
    let refused = write_root_tar(&overlapping, None, &mut Vec::new());
    assert_eq!(refused.unwrap_err().to_string(), message);
}

#[test]
fn files_get_the_time_that_is_asked_for() {
    let state = State::new();
    let view = ParentView::new(&[state.layer(add_files)]).unwrap();
    let time = Some(Timestamp::from_seconds(77));
    let target = state.path("out");
    write_local(&top(&view), &target, Stale::Keep, time, &Stop::default()).unwrap();
    for name in ["etc", "etc/hostname", "usr/bin/link", "var/pipe"] {
        let metadata = fs::symlink_metadata(target.join(name)).unwrap();
        assert_eq!(metadata.mtime(), 77, "{name}");
    }
    let apart = platforms().map(|platform| ExportRoot::apart(platform, &view));
    for roots in [&top(&view)[..], &apart] {
        let mut bytes = Vec::new();
        write_root_tar(roots, time, &mut bytes).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        for entry in archive.entries().unwrap() {
            assert_eq!(entry.unwrap().header().mtime().unwrap(), 77);
        }
    }
}
