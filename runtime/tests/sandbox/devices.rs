//! Devices given to jobs, and the mounts that must not bring any.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_files::GuestPath;
use kiln_runtime::userns::PrivilegeLevel;
use kiln_runtime::{
    DeviceKind, DeviceNumber, ExecError, JobDevice, JobMount, JobSecurity, MountAccess, MountSource,
};
use kiln_testbed::cases;

use crate::filesystem::{bind, layers};
use crate::fixture::{Fixture, list};

pub(crate) const CASES: &[crate::Case] = cases![
    devices_of_the_host
    devices_with_a_mode_and_owner
    devices_that_the_host_lacks
    devices_that_are_none
    mounts_bring_no_devices
    nodes_of_the_host_do_not_change
];

fn device(target: &str, host: &str) -> JobDevice {
    JobDevice::new(GuestPath::new(target), PathBuf::from(host))
}

fn devices_of_the_host(fixture: &Fixture) {
    let script = "head -c 3 /dev/deep/nought | wc -c; head -c 4 /opt/full | wc -c";
    let (mut job, upper) = fixture.job(&["sh", "-c", script]);
    job.devices = vec![
        device("/dev/deep/nought", "/dev/zero"),
        device("/opt/full", "/dev/full"),
    ];
    assert_eq!(fixture.output(&job), "3\n4\n");
    assert_eq!(list(&upper), [""; 0]);
}

fn nodes_of_the_host_do_not_change(fixture: &Fixture) {
    let names = ["null", "zero", "full", "random", "urandom", "tty"];
    let looks = || {
        names.map(|name| {
            let node = fs::symlink_metadata(Path::new("/dev").join(name)).unwrap();
            (
                node.mode(),
                node.uid(),
                node.gid(),
                node.mtime(),
                node.mtime_nsec(),
            )
        })
    };
    let before = looks();
    let script = format!(
        "for name in {} own; do
            echo text > /dev/$name
            chmod 640 /dev/$name && chown 1:1 /dev/$name && touch -d @1 /dev/$name
        done 2>/dev/null
        stat -c '%a %t:%T' /dev/null
        echo text > /dev/null && head -c 2 /dev/zero | wc -c",
        names.join(" ")
    );
    let (mut job, _) = fixture.job(&["sh", "-c", &script]);
    job.devices = vec![device("/dev/own", "/dev/full")];
    let text = fixture.output(&job);
    assert_eq!(looks(), before);
    let expected = match fixture.level {
        // As under BuildKit, where each command has nodes of its own.
        PrivilegeLevel::Root => "640 1:3\n2\n",
        _ => "666 1:3\n2\n",
    };
    assert_eq!(text, expected);
    // The next one finds them as they should be.
    assert_eq!(
        fixture.sh("stat -c '%a %u' /dev/full"),
        fixture.sh("stat -c '%a %u' /dev/zero")
    );
}

fn devices_with_a_mode_and_owner(fixture: &Fixture) {
    let script = "stat -c '%F %t:%T %a %u %g' /dev/own; head -c 2 /dev/own | wc -c";
    let (mut job, _) = fixture.job(&["sh", "-c", script]);
    job.devices = vec![JobDevice {
        mode: Some(0o640),
        uid: Some(0),
        gid: Some(if fixture.has_ids() { 44 } else { 0 }),
        ..device("/dev/own", "/dev/zero")
    }];
    let text = fixture.output(&job);
    match fixture.level {
        PrivilegeLevel::Root => assert_eq!(text, "character special file 1:5 640 0 44\n2\n"),
        // Nobody else can make device nodes, so it is the host's.
        _ => {
            assert!(
                text.starts_with("character special file 1:5 666 "),
                "{text}"
            );
            assert!(text.ends_with("\n2\n"), "{text}");
        }
    }
    job.devices[0].uid = Some(u32::MAX);
    let error = fixture.try_run(&fixture.again(&job)).err().unwrap();
    assert!(matches!(error, ExecError::UnmappedId { .. }), "{error}");
}

fn devices_that_the_host_lacks(fixture: &Fixture) {
    let (mut job, _) = fixture.job(&["sh", "-c", "head -c 2 /dev/own | wc -c"]);
    job.devices = vec![JobDevice {
        number: Some(DeviceNumber {
            kind: DeviceKind::Character,
            major: 1,
            minor: 5,
        }),
        ..device("/dev/own", "/dev/no-such-device")
    }];
    match fixture.level {
        PrivilegeLevel::Root => assert_eq!(fixture.output(&job), "2\n"),
        _ => {
            let error = fixture.try_run(&job).err().unwrap();
            let expected = "device /dev/no-such-device at /dev/own";
            assert_eq!(error.to_string(), expected);
        }
    }
}

fn devices_that_are_none(fixture: &Fixture) {
    for (host, kind) in [
        ("/etc/passwd", "No such device"),
        ("/dev/no-such-device", "No such file or directory"),
    ] {
        let (mut job, _) = fixture.job(&["true"]);
        job.devices = vec![device("/dev/x", host)];
        let error = fixture.try_run(&job).err().unwrap();
        let ExecError::Device { source, .. } = error else {
            panic!("{error}")
        };
        assert!(source.to_string().contains(kind), "{source}");
    }
}

fn mounts_bring_no_devices(fixture: &Fixture) {
    // An image may hold the node of a disk, or of memory. It must be of no use, however it comes into
    // the sandbox: from another stage, from a directory of the host, whole or in part.
    if fixture.level != PrivilegeLevel::Root {
        // Nobody else can have such a layer.
        return;
    }
    let layer = fixture.directory();
    let other = fixture.directory();
    fs::create_dir(layer.join("sub")).unwrap();
    for (name, minor) in [("node", "1"), ("sub/node", "1"), ("zero", "5")] {
        let status = Command::new("mknod")
            .arg(layer.join(name))
            .args(["c", "1", minor])
            .status();
        assert!(status.unwrap().success());
    }
    let mount = |source: MountSource, access| JobMount {
        target: GuestPath::new("/m"),
        source,
        access,
    };
    let writable = MountSource::Layers {
        lowers: vec![layer.clone()],
        inside: GuestPath::ROOT,
        scratch: Some(fixture.writable()),
    };
    for mount in [
        bind(layer.clone(), "/m", MountAccess::ReadOnly),
        mount(
            layers(std::slice::from_ref(&layer), ""),
            MountAccess::ReadOnly,
        ),
        mount(layers(&[layer.clone(), other], ""), MountAccess::ReadOnly),
        mount(
            layers(std::slice::from_ref(&layer), "sub"),
            MountAccess::ReadOnly,
        ),
        mount(writable, MountAccess::ReadWrite),
    ] {
        let (mut job, _) = fixture.job(&["sh", "-c", "test -c /m/node && head -c 2 /m/node"]);
        job.mounts = vec![mount.clone()];
        let ran = fixture.run(&job);
        let errors = String::from_utf8_lossy(&ran.stderr).into_owned();
        // By the rules on its control group, or because no node works.
        let refused = ["Operation not permitted", "Permission denied"];
        let is_refused = refused.iter().any(|refused| errors.contains(refused));
        assert!(is_refused, "{mount:?}: {errors}");
        assert_eq!(ran.stdout, b"");
    }
    let (mut job, _) = fixture.job(&["sh", "-c", "head -c 2 /m/zero | wc -c"]);
    job.mounts = vec![bind(layer, "/m", MountAccess::ReadOnly)];
    job.security = JobSecurity::Insecure;
    assert_eq!(fixture.output(&job), "2\n");
}
