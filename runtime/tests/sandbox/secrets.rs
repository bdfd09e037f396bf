//! Files in memory: what a job sees of them, and that they leave nothing behind.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::PathBuf;

use kiln_files::GuestPath;
use kiln_runtime::{
    ExecError, JobMount, JobRoot, JobSecurity, MountAccess, MountSource, SecretBytes,
};
use kiln_testbed::cases;

use crate::fixture::{Fixture, list};

pub(crate) const CASES: &[crate::Case] = cases![
    df_107_secrets_have_the_mode_and_owner_asked_for
    secrets_cannot_be_written_to
    secrets_are_never_swapped_and_share_a_file_system
    secrets_leave_no_mount_behind
    secrets_of_ids_that_do_not_exist
    df_103_secrets_below_missing_directories
    secrets_over_files_of_the_image
    secrets_where_run_is_a_link
    secrets_where_run_leads_nowhere
    secrets_in_plain_directories
    secrets_below_directories_that_move
];

fn secret(target: &str, content: &str) -> JobMount {
    owned(target, content, 0o400, (0, 0))
}

fn owned(target: &str, content: &str, mode: u32, (uid, gid): (u32, u32)) -> JobMount {
    JobMount {
        target: GuestPath::new(target),
        source: MountSource::File {
            content: SecretBytes::new(content.as_bytes()),
            mode,
            uid,
            gid,
        },
        access: MountAccess::ReadOnly,
    }
}

fn df_107_secrets_have_the_mode_and_owner_asked_for(fixture: &Fixture) {
    let script = "cd /run/secrets; cat one; stat -c '%n %F %a %u %g %s' one two three";
    let (mut job, upper) = fixture.job(&["sh", "-c", script]);
    let other = if fixture.has_ids() { (33, 44) } else { (0, 0) };
    job.mounts = vec![
        secret("/run/secrets/one", "hush\n"),
        owned("/run/secrets/two", &"x".repeat(300_000), 0o4640, other),
        owned("/run/secrets/three", "", 0, (0, 0)),
    ];
    let expected = format!(
        "hush\none regular file 400 0 0 5\ntwo regular file 4640 {} {} 300000\n\
         three regular empty file 0 0 0 0\n",
        other.0, other.1
    );
    assert_eq!(fixture.output(&job), expected);
    assert_eq!(list(&upper), [""; 0]);
}

fn secrets_cannot_be_written_to(fixture: &Fixture) {
    let script = "
        { echo > /s; } 2>&1 | grep -c 'Read-only file system'
        chmod 600 /s 2>&1 | grep -c 'Read-only file system'
        rm /s 2>/dev/null || echo busy";
    let (mut job, _) = fixture.job(&["sh", "-c", script]);
    job.mounts = vec![secret("/s", "hush")];
    assert_eq!(fixture.output(&job), "1\n1\nbusy\n");
    // Not even by those who may remount.
    let script = "mount -o remount,bind,rw /s; { echo > /s; } 2>&1 | grep -c 'Read-only'";
    let (mut job, _) = fixture.job(&["sh", "-c", script]);
    job.mounts = vec![JobMount {
        access: MountAccess::ReadWrite,
        ..secret("/s", "hush")
    }];
    job.security = JobSecurity::Insecure;
    assert_eq!(fixture.output(&job), "1\n");
}

fn secrets_are_never_swapped_and_share_a_file_system(fixture: &Fixture) {
    let script = "
        grep ' /[st] ' /proc/self/mountinfo | sed 's/.* - //'
        test $(stat -c %d /s) = $(stat -c %d /t) && echo one";
    let (mut job, _) = fixture.job(&["sh", "-c", script]);
    job.mounts = vec![secret("/s", "hush"), secret("/t", "hush")];
    assert_eq!(
        fixture.output(&job),
        "ramfs ramfs ro,mode=700\nramfs ramfs ro,mode=700\none\n"
    );
}

fn secrets_leave_no_mount_behind(fixture: &Fixture) {
    // Jobs of other cases may be about to mount theirs, so look for those that stay.
    let ours = || {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let ours = mounts.lines().filter(|line| line.contains("/files-"));
        ours.map(|line| line.split(' ').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let before = ours();
    let (mut job, _) = fixture.job(&["true"]);
    job.mounts = vec![secret("/s", "hush")];
    fixture.output(&job);
    let mut left = ours();
    for _ in 0..500 {
        left.retain(|mount| !before.contains(mount) && ours().contains(mount));
        if left.is_empty() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("{left:?}");
}

fn secrets_of_ids_that_do_not_exist(fixture: &Fixture) {
    // Nowhere is there the id that means none.
    for (ids, kind) in [((u32::MAX, 0), "user"), ((0, u32::MAX), "group")] {
        let (mut job, _) = fixture.job(&["true"]);
        job.mounts = vec![owned("/s", "hush", 0o400, ids)];
        let error = fixture.try_run(&job).err().unwrap();
        assert!(
            matches!(&error, ExecError::UnmappedId { kind: k, id: u32::MAX } if *k == kind),
            "{error}"
        );
    }
    if !fixture.has_ids() {
        let (mut job, _) = fixture.job(&["true"]);
        job.mounts = vec![owned("/s", "hush", 0o400, (1000, 0))];
        let error = fixture.try_run(&job).err().unwrap().to_string();
        assert!(
            error.starts_with("user id 1000 does not exist in this"),
            "{error}"
        );
    }
}

fn df_103_secrets_below_missing_directories(fixture: &Fixture) {
    let (mut job, upper) = fixture.job(&["cat", "/no/such/directory/key"]);
    job.mounts = vec![secret("/no/such/directory/key", "hush")];
    assert_eq!(fixture.output(&job), "hush");
    assert_eq!(list(&upper), [""; 0]);
}

fn secrets_over_files_of_the_image(fixture: &Fixture) {
    let before = fs::read(fixture.layer.join("etc/group")).unwrap();
    let (mut job, upper) = fixture.job(&["cat", "/etc/group"]);
    job.mounts = vec![secret("/etc/group", "hush")];
    assert_eq!(fixture.output(&job), "hush");
    assert_eq!(fs::read(fixture.layer.join("etc/group")).unwrap(), before);
    assert_eq!(list(&upper), [""; 0]);
}

/// A layer in which `/run` is a link.
fn linked_run(fixture: &Fixture, to: &str, directories: &[&str]) -> PathBuf {
    let layer = fixture.directory();
    for directory in directories {
        fs::create_dir_all(layer.join(directory)).unwrap();
    }
    symlink(to, layer.join("run")).unwrap();
    layer
}

fn secrets_where_run_is_a_link(fixture: &Fixture) {
    let layer = linked_run(fixture, "/var/run", &["var/run"]);
    let time = fs::metadata(layer.join("var/run")).unwrap();
    let lowers = vec![layer, fixture.layer.clone()];
    let script = "cat /run/secrets/a /var/run/secrets/b";
    let (mut job, upper) = fixture.job_on(lowers, &["sh", "-c", script]);
    job.mounts = vec![secret("/run/secrets/a", "a"), secret("/run/secrets/b", "b")];
    assert_eq!(fixture.output(&job), "ab");
    assert_eq!(list(&upper), ["var/", "var/run/"]);
    let after = fs::metadata(upper.join("var/run")).unwrap();
    assert_eq!(
        (after.mtime(), after.mtime_nsec()),
        (time.mtime(), time.mtime_nsec())
    );
}

fn secrets_where_run_leads_nowhere(fixture: &Fixture) {
    // As /etc/resolv.conf does in images of systems with a resolver of their own.
    let layer = linked_run(fixture, "../var/./lib/../none", &["var/lib"]);
    let lowers = vec![layer.clone(), fixture.layer.clone()];
    let (mut job, upper) =
        fixture.job_on(lowers, &["cat", "/var/none/secrets/a", "/run/secrets/a"]);
    job.mounts = vec![secret("/run/secrets/a", "a")];
    assert_eq!(fixture.output(&job), "aa");
    assert_eq!(list(&upper), ["var/"]);

    let layer = fixture.directory();
    fs::create_dir(layer.join("etc")).unwrap();
    symlink("../run/resolve/stub.conf", layer.join("etc/resolv.conf")).unwrap();
    let lowers = vec![layer.clone(), fixture.layer.clone()];
    let (mut job, upper) = fixture.job_on(lowers, &["cat", "/etc/resolv.conf"]);
    job.resolv_conf = kiln_runtime::EtcFile::Text("nameserver".to_owned());
    assert_eq!(fixture.output(&job), "nameserver");
    assert_eq!(list(&upper), [""; 0]);

    symlink("loop", layer.join("etc/loop")).unwrap();
    let (mut job, _) = fixture.job_on(vec![layer, fixture.layer.clone()], &["true"]);
    job.mounts = vec![secret("/etc/loop/a", "a")];
    let error = fixture.try_run(&job).err().unwrap();
    assert_eq!(error.to_string(), "mounting /etc/loop/a");
}

fn secrets_in_plain_directories(fixture: &Fixture) {
    let root = fixture.directory();
    fs::create_dir(root.join("bin")).unwrap();
    fs::hard_link(fixture.layer.join("bin/busybox"), root.join("bin/busybox")).unwrap();
    let (mut job, _) = fixture.job(&["/bin/busybox", "cat", "/run/secrets/a"]);
    job.root = JobRoot::Directory(root.clone());
    job.mounts = vec![secret("/run/secrets/a", "hush")];
    for name in ["dev", "proc", "sys"] {
        fs::create_dir(root.join(name)).unwrap();
    }
    let time = fs::metadata(&root).unwrap();
    assert_eq!(fixture.output(&job), "hush");
    assert_eq!(
        list(&root),
        ["bin/", "bin/busybox", "dev/", "proc/", "sys/"]
    );
    let after = fs::metadata(&root).unwrap();
    assert_eq!(
        (after.mtime(), after.mtime_nsec()),
        (time.mtime(), time.mtime_nsec())
    );
}

fn secrets_below_directories_that_move(fixture: &Fixture) {
    // The mount point goes with the directory; what takes its place is the step's own.
    let root = fixture.directory();
    for directory in ["bin", "dev", "proc", "sys", "etc", "opt"] {
        fs::create_dir(root.join(directory)).unwrap();
    }
    fs::hard_link(fixture.layer.join("bin/busybox"), root.join("bin/busybox")).unwrap();
    let script = "
        /bin/busybox mv /opt /moved
        /bin/busybox mkdir -p /opt/a
        /bin/busybox touch /opt/a/key /moved/kept";
    let (mut job, _) = fixture.job(&["/bin/busybox", "sh", "-c", script]);
    job.root = JobRoot::Directory(root.clone());
    job.mounts = vec![secret("/opt/a/key", "hush")];
    fixture.output(&job);
    let left: Vec<_> = list(&root)
        .into_iter()
        .filter(|name| name.starts_with("opt/") || name.starts_with("moved/"))
        .collect();
    assert_eq!(
        left,
        ["moved/", "moved/kept", "opt/", "opt/a/", "opt/a/key"]
    );
}
