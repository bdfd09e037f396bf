//! Which devices work whose nodes a job makes or finds: those that rules on its control group are
//! about, or none where there can be no rules.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use kiln_files::GuestPath;
use kiln_runtime::userns::{self, PrivilegeLevel};
use kiln_runtime::{
    DeviceKind, DeviceNumber, ExecError, Job, JobDevice, JobMount, JobSecurity, MountAccess,
    MountSource,
};
use kiln_testbed::{Skip, Tool, cases};

use crate::filesystem::bind;
use crate::fixture::Fixture;

pub(crate) const CASES: &[crate::Case] = cases![
    nodes_work_by_rules
    rules_hold_beside_limits
    rules_hold_in_every_mount
    no_rules_where_groups_are_writable
    devices_that_are_given_work
    a_disk_of_the_host_stays_unreadable
    groups_are_not_left
    groups_stay_below_the_callers
    rules_hold_in_other_hierarchies
];

/// Devices that every container may use, and some that none may: memory, the log of the kernel, a
/// console, the console, `tun`, a disk.
const TRIED: [(&str, bool); 11] = [
    ("c 1 3", true),
    ("c 1 5", true),
    ("c 1 7", true),
    ("c 1 8", true),
    ("c 1 9", true),
    ("c 1 1", false),
    ("c 1 11", false),
    ("c 4 0", false),
    ("c 5 1", false),
    ("c 10 200", false),
    ("b 8 0", false),
];

/// Hierarchies in which rules can be put on groups, if they can be written to.
fn hierarchies() -> Vec<PathBuf> {
    let top = Path::new("/sys/fs/cgroup");
    let places = ["", "unified", "devices"].map(|name| top.join(name));
    let is_writable = |place: &PathBuf| {
        place.join("cgroup.procs").exists()
            && rustix::fs::access(place, rustix::fs::Access::WRITE_OK).is_ok()
    };
    places.into_iter().filter(is_writable).collect()
}

/// Says whether there have to be rules here. Root of a machine whose groups are writable has no
/// excuse.
fn can_have_rules(fixture: &Fixture) -> bool {
    let can = fixture.level == PrivilegeLevel::Root && !hierarchies().is_empty();
    if fixture.level == PrivilegeLevel::Root && !can {
        Skip::because("no control group can be made for rules about devices").announce();
    }
    can
}

/// What comes of making a node and opening it: `opens`, or the kernel's answer.
fn opening(directory: &str, device: &str) -> String {
    format!(
        "mknod {directory}/d {device} && if (: < {directory}/d) 2> /tmp/e; then echo opens; else
             sed 's/.*: //' /tmp/e; fi; rm {directory}/d\n"
    )
}

fn tries(fixture: &Fixture, directory: &str) -> Job {
    let script: String = TRIED
        .iter()
        .map(|(device, _)| opening(directory, device))
        .collect();
    fixture.job(&["sh", "-c", &script]).0
}

fn expected() -> String {
    let answers = TRIED.map(|(_, works)| {
        if works {
            "opens\n"
        } else {
            "Operation not permitted\n"
        }
    });
    answers.concat()
}

fn nodes_work_by_rules(fixture: &Fixture) {
    if !can_have_rules(fixture) {
        // Others may not even make a node, or cannot use it.
        for directory in ["/tmp", "/dev"] {
            let script = format!("mknod {directory}/d c 1 5 && head -c 1 {directory}/d");
            let errors = fixture.sh_fails(&script);
            let refused = ["Permission denied", "Operation not permitted"];
            assert!(refused.iter().any(|e| errors.contains(e)), "{errors}");
        }
        return;
    }
    for directory in ["/tmp", "/dev"] {
        assert_eq!(fixture.output(&tries(fixture, directory)), expected());
    }
    // Terminals are allowed, those of other /dev/pts are not there.
    for minor in 0..4 {
        let answer = fixture.sh(&opening("/tmp", &format!("c 136 {minor}")));
        assert_ne!(answer, "opens\n");
    }
    // As BuildKit has it.
    let script = "mknod -m 666 /d c 1 3 && echo x > /d && mknod /z c 1 5 && head -c 3 /z | wc -c";
    assert_eq!(fixture.sh(script), "3\n");
}

fn rules_hold_beside_limits(fixture: &Fixture) {
    if !can_have_rules(fixture) {
        return;
    }
    let mut job = tries(fixture, "/tmp");
    job.resources.pids = Some(50);
    match fixture.try_run(&job) {
        Ok(ran) => assert_eq!(String::from_utf8(ran.stdout).unwrap(), expected()),
        Err(ExecError::Limit { limit, reason }) => {
            Skip::because(format!("cannot limit {limit}: {reason}")).announce();
        }
        Err(other) => panic!("{other}"),
    }
}

fn rules_hold_in_every_mount(fixture: &Fixture) {
    if !can_have_rules(fixture) {
        return;
    }
    let mut job = tries(fixture, "/m");
    let tmpfs = MountSource::Tmpfs {
        size_bytes: None,
        mode: 0o755,
    };
    for source in [
        tmpfs,
        bind(fixture.directory(), "/m", MountAccess::ReadWrite).source,
    ] {
        job = fixture.again(&job);
        job.mounts = vec![JobMount {
            target: GuestPath::new("/m"),
            source,
            access: MountAccess::ReadWrite,
        }];
        assert_eq!(fixture.output(&job), expected(), "{:?}", job.mounts);
    }
}

fn no_rules_where_groups_are_writable(fixture: &Fixture) {
    if !can_have_rules(fixture) {
        return;
    }
    // Who can write to a group of the host can leave its own.
    let dead = "Permission denied\n".repeat(TRIED.len());
    let hierarchy = hierarchies().remove(0);
    let link = fixture.directory().join("link");
    symlink(&hierarchy, &link).unwrap();
    for (path, access, result) in [
        ("/".into(), MountAccess::ReadWrite, &dead),
        ("/sys/fs".into(), MountAccess::ReadWrite, &dead),
        (hierarchy.clone(), MountAccess::ReadWrite, &dead),
        (
            hierarchy.join("cgroup.procs"),
            MountAccess::ReadWrite,
            &dead,
        ),
        (link, MountAccess::ReadWrite, &dead),
        (hierarchy, MountAccess::ReadOnly, &expected()),
        ("/sys/kernel".into(), MountAccess::ReadWrite, &expected()),
    ] {
        let mut job = tries(fixture, "/tmp");
        job.mounts = vec![bind(path.clone(), "/m", access)];
        assert_eq!(&fixture.output(&job), result, "{path:?} {access:?}");
    }
}

fn devices_that_are_given_work(fixture: &Fixture) {
    if !can_have_rules(fixture) {
        return;
    }
    // Whether there is such a device or not: what it is refused for is not a rule.
    let number = DeviceNumber {
        kind: DeviceKind::Character,
        major: 10,
        minor: 237,
    };
    let script = opening("/tmp", "c 10 237") + &opening("/tmp", "c 10 200");
    let (mut job, _) = fixture.job(&["sh", "-c", &script]);
    let refused = "Operation not permitted\n";
    assert_eq!(fixture.output(&job), refused.repeat(2));
    job.devices = vec![JobDevice {
        number: Some(number),
        ..JobDevice::new(GuestPath::new("/dev/own"), PathBuf::from("/dev/no-such"))
    }];
    for pids in [None, Some(50)] {
        let mut job = fixture.again(&job);
        job.resources.pids = pids;
        let Ok(ran) = fixture.try_run(&job) else {
            assert!(pids.is_some());
            continue;
        };
        let text = String::from_utf8(ran.stdout).unwrap();
        let (given, other) = text.split_once('\n').unwrap();
        assert_ne!(given, refused.trim_end());
        assert_eq!(other, refused);
    }
    // The next one has nothing of it.
    assert_eq!(fixture.sh(&script), refused.repeat(2));
}

fn a_disk_of_the_host_stays_unreadable(fixture: &Fixture) {
    if !can_have_rules(fixture) {
        return;
    }
    let disks = fs::read_to_string("/proc/partitions").unwrap();
    let mut numbers: Vec<(u32, u32)> = disks
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
        })
        .collect();
    let root = fs::metadata("/").unwrap().dev();
    numbers.push((rustix::fs::major(root), rustix::fs::minor(root)));
    for (major, minor) in numbers {
        let device = format!("b {major} {minor}");
        let refused = "Operation not permitted\n";
        assert_eq!(fixture.sh(&opening("/tmp", &device)), refused, "{device}");
        // To write too; nothing is written, should it open.
        for how in [">>", "<>"] {
            let script = format!("mknod /tmp/d {device} && : {how} /tmp/d");
            let errors = fixture.sh_fails(&script);
            assert!(errors.contains("not permitted"), "{errors}");
        }
    }
}

fn groups_are_not_left(fixture: &Fixture) {
    // Whatever the sandbox sees of control groups ends with its own, and is read-only.
    let script = "
        find / -xdev -name cgroup.procs 2> /dev/null
        find /sys -name cgroup.procs | while read f; do echo 0 > $f && echo left by $f; done
        sed -n 's/^0:://p' /proc/self/cgroup";
    let (mut job, _) = fixture.job(&["sh", "-c", script]);
    let seen = fixture.output(&job);
    assert!(["/\n", ""].contains(&&*seen), "{seen}");
    // A trusted job has no rules to leave.
    job = fixture.again(&tries(fixture, "/tmp"));
    job.security = JobSecurity::Insecure;
    if can_have_rules(fixture) {
        let text = fixture.output(&job);
        assert!(!text.contains("not permitted"), "{text}");
    }
}

fn groups_stay_below_the_callers(fixture: &Fixture) {
    if !can_have_rules(fixture) {
        return;
    }
    let above = hierarchies().remove(0);
    let own = above.join(format!("kiln-test-{}", std::process::id()));
    fs::create_dir(&own).unwrap();
    let output = Command::new("sh")
        .args(["-c", "echo 0 > \"$1/cgroup.procs\" && shift && exec \"$@\""])
        .arg("sh")
        .arg(&own)
        .arg(std::env::current_exe().unwrap())
        .arg("--own-group")
        .arg(fixture.directory())
        .arg(&own)
        .output()
        .unwrap();
    // Nothing of kiln's is left in it.
    let removed = fs::remove_dir(&own);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    removed.unwrap();
}

/// Runs a job in a control group of its own. Started by [`groups_stay_below_the_callers`].
pub(crate) fn in_own_group(directory: &Path, own: &Path) -> ExitCode {
    let level = userns::enter(&userns::Options::default()).unwrap();
    let fixture = Fixture::new(directory, level).ok().unwrap();
    assert_eq!(fixture.output(&tries(&fixture, "/tmp")), expected());
    assert!(own.join("kiln").exists());
    ExitCode::SUCCESS
}

/// What the rules come to with the hierarchies that are left. Started by
/// [`rules_hold_in_other_hierarchies`].
pub(crate) fn with_hierarchies(directory: &Path) -> ExitCode {
    let level = userns::enter(&userns::Options::default()).unwrap();
    let fixture = Fixture::new(directory, level).ok().unwrap();
    print!("{}", fixture.output(&tries(&fixture, "/tmp")));
    let mut limited = tries(&fixture, "/tmp");
    limited.resources.memory_bytes = Some(64 << 20);
    if let Ok(ran) = fixture.try_run(&limited) {
        print!("{}", String::from_utf8_lossy(&ran.stdout));
    }
    ExitCode::SUCCESS
}

/// Runs jobs where some hierarchies of control groups are not mounted.
fn without(fixture: &Fixture, unmount: &str) -> Result<String, Skip> {
    let unshare = Tool::find("unshare")?;
    let output = unshare
        .command()
        .args(["--mount", "sh", "-c"])
        .arg(format!("{unmount} && exec \"$@\""))
        .arg("sh")
        .arg(std::env::current_exe().unwrap())
        .arg("--hierarchies")
        .arg(fixture.directory())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    Ok(String::from_utf8(output.stdout).unwrap())
}

fn rules_hold_in_other_hierarchies(fixture: &Fixture) {
    if !can_have_rules(fixture) {
        return;
    }
    let version_1 = Path::new("/sys/fs/cgroup/devices/devices.deny").parent();
    let unified = "umount -l -t cgroup2 -a";
    if version_1.is_some_and(|directory| directory.join("cgroup.procs").exists()) {
        match without(fixture, unified) {
            Ok(text) => assert!([expected(), expected().repeat(2)].contains(&text), "{text}"),
            Err(skip) => skip.announce(),
        }
    } else {
        Skip::because("this machine has no version 1 hierarchy for devices").announce();
    }
    // Without rules, no node works.
    let refused = "Permission denied\n".repeat(TRIED.len());
    match without(fixture, "umount -l -t cgroup,cgroup2 -a") {
        Ok(text) => assert_eq!(text, refused),
        Err(skip) => skip.announce(),
    }
}
