//! What the comparer of trees sees, and what the watcher of leftovers finds.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};
use std::time::Duration;

use kiln_testbed::{
    Daemon, Leftover, Scratch, assert_no_leftovers, busybox_rootfs, busybox_tarball, differences,
    leftovers, list_directory, list_tar, need, need_root, run,
};

#[test]
fn every_property_of_a_file_shows() {
    need!(need_root());
    let scratch = Scratch::new();
    let tree = |inside: &str| scratch.join("tree").join(inside);
    fs::create_dir(scratch.join("tree")).unwrap();
    fs::write(tree("file"), "content").unwrap();
    fs::set_permissions(tree("file"), Permissions::from_mode(0o4750)).unwrap();
    std::os::unix::fs::chown(tree("file"), Some(12), Some(34)).unwrap();
    fs::hard_link(tree("file"), tree("hard")).unwrap();
    symlink("a b", tree("link")).unwrap();
    run(Command::new("mknod")
        .arg(tree("null"))
        .args(["c", "1", "3"]));
    run(Command::new("mkfifo")
        .args(["--mode", "600"])
        .arg(tree("fifo")));
    run(Command::new("setfattr")
        .args(["-n", "user.note", "-v", "x y"])
        .arg(tree("file")));

    let lines = list_directory(&scratch.join("tree"));
    let names: Vec<&str> = lines
        .iter()
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    assert_eq!(names, [".", "fifo", "file", "hard", "link", "null"]);
    assert_eq!(lines[1], "fifo fifo 0600 0:0");
    // chown clears the set-user-id bit, so it is gone again.
    assert!(
        lines[2].starts_with("file file 0750 12:34 7 bytes "),
        "{}",
        lines[2]
    );
    assert!(lines[2].ends_with(" user.note=x y"), "{}", lines[2]);
    assert_eq!(lines[3], "hard file 0750 12:34 same as file");
    assert_eq!(lines[4], r"link symlink 0777 0:0 -> a\x20b");
    assert!(
        lines[5].starts_with("null character 0644 0:0 device 1:3"),
        "{}",
        lines[5]
    );

    fs::write(tree("file"), "CONTENT").unwrap();
    let changed = list_directory(&scratch.join("tree"));
    let differing = differences(&lines, &changed);
    assert_eq!(differing.len(), 2, "{differing:?}");
    assert!(differing.iter().any(|line| line.starts_with("- file ")));
    assert!(differing.iter().any(|line| line.starts_with("+ file ")));
}

#[test]
fn an_archive_and_its_directory_read_alike() {
    need!(need_root());
    let scratch = Scratch::new();
    need!(busybox_tarball(&scratch.join("rootfs.tar")));
    need!(busybox_rootfs(&scratch.join("rootfs")));
    let archive = need!(list_tar(&scratch.join("rootfs.tar")));
    let directory = list_directory(&scratch.join("rootfs"));
    assert_eq!(differences(&archive, &directory[1..]), Vec::<String>::new());
    assert!(archive.contains(&"tmp directory 1777 0:0".to_owned()));
    assert!(archive.contains(&"bin/sh symlink 0777 0:0 -> busybox".to_owned()));
}

#[test]
fn a_forgotten_process_is_found_until_it_ends() {
    let scratch = Scratch::new();
    assert_eq!(leftovers(scratch.path()), []);
    let mut process = Daemon::spawn(
        Command::new("sleep")
            .arg("600")
            .current_dir(scratch.path())
            .stdin(Stdio::null()),
        Duration::from_secs(1),
    )
    .unwrap();
    let id = process.id();
    let found = leftovers(scratch.path());
    assert!(
        matches!(&found[..], [Leftover::Process { id: found, how: "works in it", .. }] if *found == id),
        "{found:?}"
    );
    process.stop().unwrap();
    assert_no_leftovers(scratch.path());
}

#[test]
fn a_forgotten_mount_is_found_and_removed_with_its_directory() {
    need!(need_root());
    let scratch = Scratch::new();
    let mount_point = scratch.join("with space");
    fs::create_dir(&mount_point).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "tmpfs"])
        .arg(&mount_point)
        .output()
        .unwrap();
    if !mounted.status.success() {
        kiln_testbed::skip!("root may not mount here");
    }
    assert_eq!(
        leftovers(scratch.path()),
        [Leftover::Mount(mount_point.clone())]
    );
    let path = scratch.path().to_owned();
    drop(scratch);
    assert!(!path.exists());
    assert_no_leftovers(&path);
}

#[test]
fn a_container_is_found_by_the_mounts_it_sees() {
    need!(need_root());
    let scratch = Scratch::new();
    let inside = scratch.join("inside");
    fs::create_dir(&inside).unwrap();
    let process = Daemon::spawn(
        Command::new("unshare")
            .args(["--mount", "sh", "-c"])
            // The command line names no path: the mount table alone tells.
            .arg("mount -t tmpfs tmpfs inside && cd / && exec sleep 600")
            .current_dir(scratch.path())
            .stdin(Stdio::null()),
        Duration::from_secs(1),
    )
    .unwrap();
    let sees_mounts = || {
        leftovers(scratch.path()).iter().any(|leftover| {
            matches!(
                leftover,
                Leftover::Process {
                    how: "has mounts of it",
                    ..
                }
            )
        })
    };
    let mut tries = 0;
    while !sees_mounts() && tries < 500 {
        std::thread::sleep(Duration::from_millis(10));
        tries += 1;
    }
    assert!(sees_mounts(), "{:?}", leftovers(scratch.path()));
    drop(process);
    assert_no_leftovers(scratch.path());
}
