//! What a process in a sandbox may not do.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::ExitCode;

use kiln_runtime::userns::{self, PrivilegeLevel};
use kiln_runtime::{
    ExecError, Job, JobNetwork, JobSecurity, OuterProc, ProcessUser, proc_is_refused,
};
use kiln_testbed::{Skip, Tool, cases};

use crate::fixture::Fixture;

pub(crate) const CASES: &[crate::Case] = cases![
    root_has_the_default_capabilities
    the_network_of_the_host_is_not_listened_to
    others_have_no_capabilities
    masks_cannot_be_changed
    a_hidden_proc_is_not_shown_unasked
    namespaces_and_mounts_are_refused
    allowed_calls_are_allowed
    proc_is_masked
    settings_are_read_only
    sysfs_is_read_only
    df_111_no_network_but_loopback
    network_of_the_host
    the_host_is_out_of_sight
    trusted_jobs_have_every_capability
    trusted_jobs_see_and_change_settings
    trusted_jobs_have_devices
];

fn status(fixture: &Fixture, user: ProcessUser) -> String {
    let (mut job, _) = fixture.job(&["cat", "/proc/self/status"]);
    job.process.user = user;
    fixture.output(&job)
}

fn has(status: &str, line: &str) {
    assert!(
        status.lines().any(|other| other == line),
        "no {line:?} in\n{status}"
    );
}

fn root_has_the_default_capabilities(fixture: &Fixture) {
    // docs/spec/dockerfile.md 10: mask a80425fb, no-new-privileges not set; on the host's network
    // without NET_RAW, NET_BIND_SERVICE and AUDIT_WRITE.
    for (network, mask) in [
        (JobNetwork::None, "00000000a80425fb"),
        (JobNetwork::Host, "00000000880401fb"),
    ] {
        let (mut job, _) = fixture.job(&["cat", "/proc/self/status"]);
        job.network = network;
        let status = fixture.output(&job);
        for set in ["CapPrm", "CapEff", "CapBnd"] {
            has(&status, &format!("{set}:\t{mask}"));
        }
        for set in ["CapInh", "CapAmb"] {
            has(&status, &format!("{set}:\t0000000000000000"));
        }
        has(&status, "NoNewPrivs:\t0");
        has(&status, "Seccomp:\t2");
    }
}

fn the_network_of_the_host_is_not_listened_to(fixture: &Fixture) {
    // A raw socket reads what others send over the loopback device; a low port is a service's.
    for (script, expected) in [
        ("ping -c 1 -W 1 127.0.0.1", "permission denied"),
        ("nc -l -p 1 -w 1", "Permission denied"),
    ] {
        let errors = fixture.sh_fails(script).to_lowercase();
        let refused = ["operation not permitted", &expected.to_lowercase()];
        assert!(
            refused.iter().any(|text| errors.contains(text)),
            "{script}: {errors}"
        );
    }
}

fn others_have_no_capabilities(fixture: &Fixture) {
    if !fixture.has_ids() {
        return;
    }
    let user = ProcessUser {
        uid: 1000,
        gid: 1000,
        groups: Vec::new(),
    };
    let status = status(fixture, user);
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        has(&status, &format!("{set}:\t0000000000000000"));
    }
    has(&status, "CapBnd:\t00000000880401fb");
}

fn namespaces_and_mounts_are_refused(fixture: &Fixture) {
    for script in [
        "unshare -U true",
        "unshare -m true",
        "mount -t tmpfs none /tmp",
        "umount /proc",
        "pivot_root / /tmp",
    ] {
        let errors = fixture.sh_fails(script);
        let refused = errors.contains("Operation not permitted")
            // What busybox makes of EPERM in umount and mount.
            || errors.contains("permission denied");
        assert!(refused, "{script}: {errors}");
    }
}

/// Runs a job where parts of `/proc` are hidden, as in a container: without its own `/proc` it is not
/// run unless somebody agrees. Started by [`a_hidden_proc_is_not_shown_unasked`].
pub(crate) fn with_hidden_proc(directory: &Path) -> ExitCode {
    let level = userns::enter(&userns::Options::default()).unwrap();
    assert!(
        matches!(level, PrivilegeLevel::Subordinate { .. }),
        "{level:?}"
    );
    assert!(proc_is_refused().unwrap());
    let fixture = Fixture::new(directory, level).ok().unwrap();
    let (mut job, _) = fixture.job(&["sh", "-c", "ls /proc | grep -c '^[0-9]'"]);
    assert!(matches!(fixture.try_run(&job), Err(ExecError::ProcRefused)));
    job.outer_proc = OuterProc::Shown;
    let seen: u32 = fixture.output(&fixture.again(&job)).trim().parse().unwrap();
    println!("{seen} processes seen");
    ExitCode::from(u8::from(seen < 5))
}

fn a_hidden_proc_is_not_shown_unasked(fixture: &Fixture) {
    assert!(!proc_is_refused().unwrap());
    if fixture.level != PrivilegeLevel::Root {
        return;
    }
    let (Ok(unshare), Ok(setpriv)) = (Tool::find("unshare"), Tool::find("setpriv")) else {
        Skip::because("unshare and setpriv are needed to hide parts of /proc").announce();
        return;
    };
    let own = std::env::current_exe().unwrap();
    let directory = fixture.directory();
    let script = "mount --bind /dev/null /proc/uptime && exec \"$@\"";
    let output = unshare
        .command()
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(setpriv.command().get_program())
        .args(["--bounding-set", "-sys_admin", "--"])
        .args([
            own.as_os_str(),
            "--hidden-proc".as_ref(),
            directory.as_os_str(),
        ])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn masks_cannot_be_changed(fixture: &Fixture) {
    // What hides is the host's /dev/null, or a directory that all sandboxes share.
    let before = fs::metadata("/dev/null").unwrap();
    let script = "
        for f in /proc/keys /proc/kcore /proc/timer_list /proc/interrupts /proc/acpi /proc/scsi \
            /sys/firmware /sys/devices/virtual/powercap; do
            test -e $f || continue
            chmod 700 $f && echo chmod $f
            chown 1:1 $f && echo chown $f
            touch $f && echo touch $f
        done
        true";
    assert_eq!(fixture.sh(script), "");
    let after = fs::metadata("/dev/null").unwrap();
    assert_eq!(after.mode(), before.mode());
    assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
    assert_eq!(
        (after.ctime(), after.mtime()),
        (before.ctime(), before.mtime())
    );
}

fn allowed_calls_are_allowed(fixture: &Fixture) {
    let script =
        "chroot / /bin/true && mkfifo /f && mknod /n p && chmod 4755 /f && ln /f /g && echo ok";
    assert_eq!(fixture.sh(script), "ok\n");
}

fn proc_is_masked(fixture: &Fixture) {
    // Hidden files are empty, hidden directories have nothing in them.
    let script = "
        for f in kcore keys timer_list interrupts; do
            test ! -e /proc/$f || test -z \"$(head -c 1 /proc/$f)\" || echo $f
        done
        for d in /proc/acpi /proc/scsi /sys/firmware; do
            test ! -e $d || test -z \"$(ls $d)\" || echo $d
        done";
    assert_eq!(fixture.sh(script), "");
}

fn settings_are_read_only(fixture: &Fixture) {
    for script in [
        "echo x > /proc/sys/kernel/hostname",
        "echo 0 > /proc/irq/default_smp_affinity",
    ] {
        let errors = fixture.sh_fails(script);
        assert!(
            errors.contains("Read-only file system"),
            "{script}: {errors}"
        );
    }
}

fn sysfs_is_read_only(fixture: &Fixture) {
    let errors = fixture.sh_fails("echo 0 > /sys/kernel/profiling || mkdir /sys/fs/cgroup/x");
    assert!(errors.contains("Read-only file system"), "{errors}");
    assert_eq!(
        fixture.sh("test -d /sys/class/net && echo there"),
        "there\n"
    );
}

fn df_111_no_network_but_loopback(fixture: &Fixture) {
    let script = "
        ls /sys/class/net
        ip -o addr show dev lo | grep -c 127.0.0.1
        tail -n +2 /proc/net/route | wc -l
        test ! -e /proc/net/ipv6_route || grep -v ' lo$' /proc/net/ipv6_route
        nc -w 5 192.0.2.1 80 2>&1 </dev/null | grep -c 'Network is unreachable'
        nc -l -p 7777 -e echo up &
        until nc 127.0.0.1 7777 </dev/null 2>/dev/null; do sleep 0.05; done";
    let (mut job, _) = fixture.job(&["sh", "-c", script]);
    job.network = JobNetwork::None;
    assert_eq!(fixture.output(&job), "lo\n1\n0\n1\nup\n");
    let (mut job, _) = fixture.job(&["sh", "-c", "echo 0 > /sys/class/net/lo/mtu"]);
    job.network = JobNetwork::None;
    let ran = fixture.run(&job);
    assert!(String::from_utf8_lossy(&ran.stderr).contains("Read-only file system"));
}

fn network_of_the_host(fixture: &Fixture) {
    let ours = fs::read_to_string("/proc/net/dev").unwrap();
    let theirs = fixture.sh("cat /proc/net/dev");
    assert_eq!(ours.lines().count(), theirs.lines().count());
}

fn the_host_is_out_of_sight(fixture: &Fixture) {
    let base = fixture.base.display().to_string();
    let script = format!(
        "ls -d {base} 2>&1; cd /../..; ls -d ./busybox 2>&1; grep -c ' / / ' /proc/self/mountinfo"
    );
    let (job, _) = fixture.job(&["sh", "-c", &script]);
    let ran = fixture.run(&job);
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert_eq!(text.matches("No such file").count(), 2, "{text}");
    assert!(text.ends_with("\n1\n"), "one root: {text}");
}

fn trusted(fixture: &Fixture, script: &str) -> Job {
    let (mut job, _) = fixture.job(&["sh", "-c", script]);
    job.security = JobSecurity::Insecure;
    job
}

fn trusted_jobs_have_every_capability(fixture: &Fixture) {
    // docs/spec/dockerfile.md 6, RUN: all capabilities, no filter. All that kiln has, that is.
    let ours = fs::read_to_string("/proc/self/status").unwrap();
    let permitted = ours.lines().find(|line| line.starts_with("CapPrm:"));
    let (_, mask) = permitted.unwrap().split_once('\t').unwrap();
    let script = "cat /proc/self/status; mount -t tmpfs none /tmp && echo mounted";
    let text = fixture.output(&trusted(fixture, script));
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        has(&text, &format!("{set}:\t{mask}"));
    }
    has(&text, "Seccomp:\t0");
    has(&text, "mounted");
    assert_ne!(mask, "00000000a80425fb");
}

fn trusted_jobs_see_and_change_settings(fixture: &Fixture) {
    // docs/spec/dockerfile.md 6, RUN: writable /sys, and nothing masked. Their own network, so that
    // the settings are theirs.
    let script = "
        echo 1400 > /sys/class/net/lo/mtu && cat /sys/class/net/lo/mtu
        echo 1 > /proc/sys/net/ipv4/ip_forward && cat /proc/sys/net/ipv4/ip_forward
        grep -cE ' /(proc|sys)/[^ ]+ ' /proc/self/mountinfo || true";
    let mut job = trusted(fixture, script);
    job.network = JobNetwork::None;
    let text = fixture.output(&job);
    // One more mount is the control group, where there is one.
    assert!(["1400\n1\n0\n", "1400\n1\n1\n"].contains(&&*text), "{text}");
    if fixture.level == PrivilegeLevel::Root {
        let script = "echo other > /proc/sys/kernel/hostname && hostname";
        assert_eq!(fixture.output(&trusted(fixture, script)), "other\n");
    }
}

fn trusted_jobs_have_devices(fixture: &Fixture) {
    // As BuildKit gives them for security.insecure.
    for name in ["kmsg", "fuse", "kvm", "net/tun", "loop-control"] {
        if Path::new("/dev").join(name).exists() {
            let script = format!("stat -c %t:%T /dev/{name}");
            let expected = std::process::Command::new("stat")
                .args(["-c", "%t:%T", &format!("/dev/{name}")])
                .output()
                .unwrap();
            let text = fixture.output(&trusted(fixture, &script));
            assert_eq!(text.as_bytes(), expected.stdout, "{name}");
        }
    }
    if fixture.level == PrivilegeLevel::Root {
        let script =
            "stat -c '%F %t:%T %a' /dev/loop7; mknod /dev/z c 1 5; head -c 2 /dev/z | wc -c
            mknod /tmp/z c 1 5; head -c 3 /tmp/z | wc -c";
        assert_eq!(
            fixture.output(&trusted(fixture, script)),
            "block special file 7:7 666\n2\n3\n"
        );
    }
}
