//! The root, what is mounted in it, and what a run leaves in the upper directory.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use kiln_files::GuestPath;
use kiln_runtime::{End, JobMount, JobRoot, MountAccess, MountSource};
use kiln_snapshotter::overlay::{self, OverlaySpec};
use kiln_testbed::cases;

use crate::fixture::{Fixture, list};

pub(crate) const CASES: &[crate::Case] = cases![
    changes_are_in_the_upper_directory
    a_complete_root_is_left_alone
    a_bare_root_gets_three_directories
    a_root_of_nothing_but_a_program
    built_in_devices_work
    shared_memory_has_a_size
    binds_of_files_and_directories
    read_only_binds
    binds_stay_inside
    df_106_tmpfs_mounts_have_a_size
    parts_of_layers
    writes_to_discarded_roots_vanish
    plain_directories_are_roots
    read_only_roots
    hundreds_of_layers
];

pub(crate) fn bind(path: PathBuf, target: &str, access: MountAccess) -> JobMount {
    JobMount {
        target: GuestPath::new(target),
        source: MountSource::Bind {
            path,
            inside: GuestPath::ROOT,
        },
        access,
    }
}

fn changes_are_in_the_upper_directory(fixture: &Fixture) {
    let (job, upper) = fixture.job(&["sh", "-c", "echo hi >/new; rm /etc/group"]);
    fixture.output(&job);
    assert_eq!(fs::read_to_string(upper.join("new")).unwrap(), "hi\n");
    assert_eq!(list(&upper), ["etc/", "etc/group", "new"]);
    assert!(fixture.layer.join("etc/group").exists());
}

fn a_complete_root_is_left_alone(fixture: &Fixture) {
    let (job, upper) = fixture.job(&["true"]);
    fixture.output(&job);
    assert_eq!(list(&upper), [""; 0]);
}

fn a_bare_root_gets_three_directories(fixture: &Fixture) {
    // docs/spec/dockerfile.md 10: /dev, /proc and /sys do end up in the layer, the files in /etc
    // do not.
    let layer = fixture.directory();
    fs::create_dir_all(layer.join("bin")).unwrap();
    fs::hard_link(fixture.layer.join("bin/busybox"), layer.join("bin/busybox")).unwrap();
    let (job, upper) = fixture.job_on(vec![layer], &["/bin/busybox", "ls", "/etc"]);
    assert_eq!(fixture.output(&job), "hosts\nresolv.conf\n");
    assert_eq!(list(&upper), ["dev/", "proc/", "sys/"]);
    let mode = |name: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        fs::metadata(upper.join(name)).unwrap().permissions().mode() & 0o7777
    };
    assert_eq!([mode("dev"), mode("proc"), mode("sys")], [0o755; 3]);
}

fn a_root_of_nothing_but_a_program(fixture: &Fixture) {
    // FROM scratch, COPY one program, RUN it.
    let layer = fixture.directory();
    fs::hard_link(fixture.layer.join("bin/busybox"), layer.join("busybox")).unwrap();
    let argv = ["/busybox", "sh", "-c", "echo x > /etc/mine"];
    let (job, upper) = fixture.job_on(vec![layer], &argv);
    fixture.output(&job);
    assert_eq!(list(&upper), ["dev/", "etc/", "etc/mine", "proc/", "sys/"]);
}

fn built_in_devices_work(fixture: &Fixture) {
    let script = "
        echo gone > /dev/null
        head -c 3 /dev/zero | wc -c
        head -c 5 /dev/urandom | wc -c
        { echo x > /dev/full; } 2> /dev/null || echo full
        ls -l /dev/fd /dev/stdout /dev/ptmx | sed 's/.* -> //'
        ls /dev/mqueue | wc -l
        ls /dev/core 2>/dev/null
        mkdir /dev/own && echo made";
    assert_eq!(
        fixture.sh(script),
        "3\n5\nfull\n/proc/self/fd\npts/ptmx\n/proc/self/fd/1\n0\nmade\n"
    );
}

fn shared_memory_has_a_size(fixture: &Fixture) {
    // docs/spec/dockerfile.md 10: 64 MiB, or what --shm-size says.
    let script = "
        df -k /dev/shm | tail -1 | awk '{print $2}'; stat -c %a /dev/shm
        head -c 2097152 /dev/zero > /dev/shm/x 2>/dev/null
        stat -c %s /dev/shm/x";
    let (mut job, _) = fixture.job(&["sh", "-c", script]);
    assert_eq!(fixture.output(&job), "65536\n1777\n2097152\n");
    job.shm_size_bytes = 1 << 20;
    job = fixture.again(&job);
    assert_eq!(fixture.output(&job), "1024\n1777\n1048576\n");
}

fn binds_of_files_and_directories(fixture: &Fixture) {
    let source = fixture.directory();
    fs::write(source.join("file"), "content").unwrap();
    let script = "cat /one /two/file; echo changed > /two/other";
    let (mut job, upper) = fixture.job(&["sh", "-c", script]);
    job.mounts = vec![
        bind(source.join("file"), "/one", MountAccess::ReadOnly),
        bind(source.clone(), "/two", MountAccess::ReadWrite),
    ];
    assert_eq!(fixture.output(&job), "contentcontent");
    assert_eq!(
        fs::read_to_string(source.join("other")).unwrap(),
        "changed\n"
    );
    assert_eq!(list(&upper), [""; 0]);
}

fn read_only_binds(fixture: &Fixture) {
    let source = fixture.directory();
    let (mut job, _) = fixture.job(&["touch", "/mnt/x"]);
    job.mounts = vec![bind(source, "/mnt", MountAccess::ReadOnly)];
    let ran = fixture.run(&job);
    assert_ne!(ran.outcome.end, End::Exited(0));
    assert!(String::from_utf8_lossy(&ran.stderr).contains("Read-only file system"));
}

fn binds_stay_inside(fixture: &Fixture) {
    let source = fixture.directory();
    fs::create_dir(source.join("etc")).unwrap();
    fs::write(source.join("etc/passwd"), "from inside").unwrap();
    symlink("/etc/passwd", source.join("link")).unwrap();
    symlink("../../../../etc", source.join("up")).unwrap();
    for inside in ["link", "up/passwd"] {
        let (mut job, _) = fixture.job(&["cat", "/mnt"]);
        job.mounts = vec![JobMount {
            target: GuestPath::new("/mnt"),
            source: MountSource::Bind {
                path: source.clone(),
                inside: GuestPath::new(inside),
            },
            access: MountAccess::ReadOnly,
        }];
        assert_eq!(fixture.output(&job), "from inside");
    }
}

fn df_106_tmpfs_mounts_have_a_size(fixture: &Fixture) {
    // And mode 1777 unless another is wanted. Programs in them can be started.
    let script = "
        stat -f -c %T /t; stat -c %a /t; df -k /t | tail -1 | awk '{print $2}'
        head -c 2097152 /dev/zero > /t/fits && rm /t/fits && echo fits
        printf '#!/bin/sh\\necho started\\n' > /t/p && chmod +x /t/p && /t/p && rm /t/p
        { head -c 2097153 /dev/zero > /t/large; } 2>&1 | grep -c 'No space left on device'
        stat -c %s /t/large";
    let (mut job, upper) = fixture.job(&["sh", "-c", script]);
    job.mounts = vec![JobMount {
        target: GuestPath::new("/t"),
        source: MountSource::Tmpfs {
            size_bytes: Some(2 << 20),
            mode: 0o1777,
        },
        access: MountAccess::ReadWrite,
    }];
    let expected = "tmpfs\n1777\n2048\nfits\nstarted\n1\n2097152\n";
    assert_eq!(fixture.output(&job), expected);
    assert_eq!(list(&upper), [""; 0]);
}

pub(crate) fn layers(lowers: &[PathBuf], inside: &str) -> MountSource {
    MountSource::Layers {
        lowers: lowers.to_vec(),
        inside: GuestPath::new(inside),
        scratch: None,
    }
}

fn parts_of_layers(fixture: &Fixture) {
    let (lower, upper) = (fixture.directory(), fixture.directory());
    for (layer, name) in [(&lower, "low"), (&upper, "high")] {
        fs::create_dir_all(layer.join("app/out")).unwrap();
        fs::write(layer.join("app/out").join(name), name).unwrap();
    }
    symlink("/app/out", upper.join("link")).unwrap();
    let stack = [upper, lower];
    for (inside, expected) in [
        ("", "app\nlink\n"),
        ("app/out", "high\nlow\n"),
        ("link", "high\nlow\n"),
    ] {
        let (mut job, changed) = fixture.job(&["sh", "-c", "ls /m; ! touch /m/x 2>/dev/null"]);
        job.mounts = vec![JobMount {
            target: GuestPath::new("/m"),
            source: layers(&stack, inside),
            access: MountAccess::ReadOnly,
        }];
        assert_eq!(fixture.output(&job), expected);
        assert_eq!(list(&changed), [""; 0]);
    }
    let (mut job, _) = fixture.job(&["cat", "/f"]);
    job.mounts = vec![JobMount {
        target: GuestPath::new("/f"),
        source: layers(&stack, "app/out/low"),
        access: MountAccess::ReadOnly,
    }];
    assert_eq!(fixture.output(&job), "low");
}

fn writes_to_discarded_roots_vanish(fixture: &Fixture) {
    // docs/spec/dockerfile.md 6, RUN --mount=type=bind,rw: writes succeed and are discarded.
    let context = fixture.directory();
    fs::write(context.join("file"), "old").unwrap();
    let (mut job, upper) = fixture.job(&["sh", "-c", "echo new > /m/file; cat /m/file"]);
    job.mounts = vec![JobMount {
        target: GuestPath::new("/m"),
        source: MountSource::Layers {
            lowers: vec![context.clone()],
            inside: GuestPath::ROOT,
            scratch: Some(fixture.writable()),
        },
        access: MountAccess::ReadWrite,
    }];
    assert_eq!(fixture.output(&job), "new\n");
    assert_eq!(fs::read_to_string(context.join("file")).unwrap(), "old");
    assert_eq!(list(&upper), [""; 0]);
}

pub(crate) fn with_files(fixture: &Fixture, names: &[&str]) -> PathBuf {
    let layer = fixture.directory();
    for name in names {
        let path = layer.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    layer
}

fn plain_directories_are_roots(fixture: &Fixture) {
    let root = fixture.directory();
    fs::create_dir(root.join("bin")).unwrap();
    fs::hard_link(fixture.layer.join("bin/busybox"), root.join("bin/busybox")).unwrap();
    let source = fixture.directory();
    let (mut job, _) = fixture.job(&["/bin/busybox", "touch", "/made"]);
    job.root = JobRoot::Directory(root.clone());
    job.mounts = vec![bind(source, "/some/where", MountAccess::ReadOnly)];
    fixture.output(&job);
    assert_eq!(
        list(&root),
        ["bin/", "bin/busybox", "dev/", "made", "proc/", "sys/"]
    );
}

fn read_only_roots(fixture: &Fixture) {
    let (mut job, _) = fixture.job(&["sh", "-c", "! touch /x 2>/dev/null; echo > /dev/shm/x"]);
    job.root = JobRoot::Layers {
        lowers: vec![fixture.layer.clone()],
        upper: None,
    };
    fixture.output(&job);
}

fn hundreds_of_layers(fixture: &Fixture) {
    // Once more as the plain function, so that a limit of the kernel is told from one of ours.
    let mut lowers: Vec<PathBuf> = (0..220)
        .map(|number| with_files(fixture, &[&format!("n/{number}")]))
        .collect();
    lowers.push(fixture.layer.clone());
    overlay::mount(&OverlaySpec {
        lowers: lowers.clone(),
        upper_and_work: None,
    })
    .unwrap();
    let (job, _) = fixture.job_on(lowers, &["sh", "-c", "ls /n | wc -l"]);
    assert_eq!(fixture.output(&job), "220\n");
}
