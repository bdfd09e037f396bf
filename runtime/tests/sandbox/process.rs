//! The process itself: how it ends, who it is, what it has.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use kiln_files::GuestPath;
use kiln_runtime::userns::{self, PrivilegeLevel};
use kiln_runtime::{
    End, ExecError, ProcessUser, Streams, Ulimit, UlimitName, WindowSize, hosts_text,
};
use kiln_testbed::cases;

use crate::fixture::{Fixture, list};

pub(crate) const CASES: &[crate::Case] = cases![
    exit_codes_are_reported
    environment_is_exactly_the_jobs
    working_directory_is_entered
    working_directory_is_made
    user_and_groups
    missing_ids_are_named
    signals_are_reset
    umask_is_022
    nothing_is_inherited
    input_ends_at_once
    terminal_is_its_own
    limits_are_set
    limits_are_not_the_callers
    every_limit_can_be_set
    limits_that_cannot_be_set_are_named
    hostname_and_hosts
    first_process_of_its_namespace
];

fn exit_codes_are_reported(fixture: &Fixture) {
    for code in [0, 3, 255] {
        let (job, _) = fixture.job(&["sh", "-c", &format!("exit {code}")]);
        assert_eq!(fixture.run(&job).outcome.end, End::Exited(code));
    }
    // A shell reports the death of its child as 128 plus the signal.
    let (job, _) = fixture.job(&["sh", "-c", "sh -c 'kill -9 $$'; exit $?"]);
    assert_eq!(fixture.run(&job).outcome.end, End::Exited(137));
}

fn environment_is_exactly_the_jobs(fixture: &Fixture) {
    let (mut job, _) = fixture.job(&["env"]);
    let env = [("PATH", "/bin"), ("EMPTY", ""), ("A", "x=y z"), ("A2", "ü")];
    job.process.env = env.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    assert_eq!(fixture.output(&job), "PATH=/bin\nEMPTY=\nA=x=y z\nA2=ü\n");
}

fn working_directory_is_entered(fixture: &Fixture) {
    let (mut job, upper) = fixture.job(&["pwd"]);
    job.process.cwd = GuestPath::new("/etc");
    assert_eq!(fixture.output(&job), "/etc\n");
    assert_eq!(list(&upper), [""; 0]);
}

fn working_directory_is_made(fixture: &Fixture) {
    // docs/spec/dockerfile.md 10: created 0755 root if missing
    let (mut job, upper) = fixture.job(&["sh", "-c", "pwd; stat -c '%a %u:%g' . .."]);
    job.process.cwd = GuestPath::new("/srv/app");
    assert_eq!(fixture.output(&job), "/srv/app\n755 0:0\n755 0:0\n");
    assert_eq!(list(&upper), ["srv/", "srv/app/"]);
}

fn user_and_groups(fixture: &Fixture) {
    let script = "id -u; id -g; id -G; grep ^Groups /proc/self/status";
    let (mut job, _) = fixture.job(&["sh", "-c", script]);
    assert!(fixture.output(&fixture.again(&job)).starts_with("0\n0\n0"));
    if !fixture.has_ids() {
        return;
    }
    job.process.user = ProcessUser {
        uid: 1234,
        gid: 56,
        groups: vec![7, 8],
    };
    let mut groups_are = |groups: &[u32], expected: &str| {
        job.process.user.groups = groups.to_vec();
        assert_eq!(fixture.output(&fixture.again(&job)), expected);
    };
    // What a process is a member of does not end with its primary group (CVE-2022-36109).
    groups_are(&[], "1234\n56\n56\nGroups:\t56 \n");
    groups_are(&[7, 8], "1234\n56\n56 7 8\nGroups:\t7 8 56 \n");
    groups_are(&[56, 7], "1234\n56\n56 7\nGroups:\t7 56 \n");
}

fn missing_ids_are_named(fixture: &Fixture) {
    let (mut job, _) = fixture.job(&["true"]);
    job.process.user.uid = 4_000_000_000;
    match fixture.try_run(&job) {
        // Root has all ids, if it had to make a namespace too.
        Ok(ran) => {
            assert_eq!(ran.outcome.end, End::Exited(0));
            assert!(match fixture.level {
                PrivilegeLevel::Root => true,
                PrivilegeLevel::Subordinate { users, .. } => users > 4_000_000_000,
                _ => false,
            });
        }
        Err(error) => {
            assert!(matches!(error, ExecError::UnmappedId { kind: "user", .. }));
            assert!(error.to_string().contains("/etc/subuid"));
        }
    }
}

fn signals_are_reset(fixture: &Fixture) {
    let (job, _) = fixture.job(&["cat", "/proc/self/status"]);
    let status = fixture.output(&job);
    for line in ["SigBlk", "SigIgn", "SigCgt"] {
        assert!(
            status.contains(&format!("{line}:\t0000000000000000\n")),
            "{status}"
        );
    }
}

fn umask_is_022(fixture: &Fixture) {
    assert_eq!(fixture.sh("umask"), "0022\n");
}

fn nothing_is_inherited(fixture: &Fixture) {
    // Three streams and the directory being listed.
    let (job, _) = fixture.job(&["ls", "/proc/self/fd"]);
    assert_eq!(fixture.output(&job), "0\n1\n2\n3\n");
}

fn input_ends_at_once(fixture: &Fixture) {
    let (job, _) = fixture.job(&["cat"]);
    assert_eq!(fixture.output(&job), "");
    assert!(fixture.sh("readlink /proc/self/fd/0").starts_with("pipe:"));
}

fn terminal_is_its_own(fixture: &Fixture) {
    let script = "tty; stty size; test -t 1 && test -t 2 && echo all; echo hello >/dev/tty";
    let (mut job, _) = fixture.job(&["sh", "-c", script]);
    job.process.streams = Streams::Terminal(WindowSize {
        rows: 33,
        columns: 101,
    });
    let text = fixture.output(&job).replace("\r\n", "\n");
    assert_eq!(text, "/dev/pts/0\n33 101\nall\nhello\n");
}

fn limits_are_set(fixture: &Fixture) {
    let (mut job, _) = fixture.job(&["sh", "-c", "ulimit -Sn; ulimit -Hn"]);
    job.ulimits = vec![Ulimit {
        resource: UlimitName::OpenFiles,
        soft: Some(100),
        hard: Some(200),
    }];
    assert_eq!(fixture.output(&job), "100\n200\n");
}

/// Starts a run with limits of a shell's; run by [`limits_are_not_the_callers`].
pub(crate) fn limited_caller(directory: &Path) -> ExitCode {
    let level = userns::enter(&userns::Options::default()).unwrap();
    let Ok(fixture) = Fixture::new(directory, level) else {
        return ExitCode::FAILURE;
    };
    println!(
        "{}",
        fixture.sh("ulimit -Sn; ulimit -f; ulimit -c; ulimit -s; umask")
    );
    ExitCode::SUCCESS
}

fn limits_are_not_the_callers(fixture: &Fixture) {
    let own = std::env::current_exe().unwrap();
    let run = |limits: &str| {
        let output = Command::new("sh")
            .args(["-c", &format!("umask 077; {limits}; exec \"$@\"",), "sh"])
            .args([own.as_os_str(), "--limited-caller".as_ref()])
            .arg(fixture.directory())
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        (String::from_utf8_lossy(&output.stdout).into_owned(), error)
    };
    let expected = "1024\nunlimited\n0\n8192\n0022\n\n";
    // Soft limits can be raised by anybody.
    let (text, error) = run("ulimit -Sn 200; ulimit -Sf 100000; ulimit -Sc 0; ulimit -Ss 4096");
    assert_eq!(text, expected, "{error}");
    // Hard ones by root at most; nobody runs anything with less than is promised.
    let (text, error) = run("ulimit -f 100000");
    assert!(
        text == expected || error.contains("InheritedLimit { name: \"fsize\""),
        "{text}{error}"
    );
}

fn every_limit_can_be_set(fixture: &Fixture) {
    // Low enough for anybody, high enough to run.
    let limits = [
        ("core", "Max core file size", 0),
        ("cpu", "Max cpu time", 1000),
        ("data", "Max data size", 1 << 30),
        ("fsize", "Max file size", 1 << 30),
        ("locks", "Max file locks", 100),
        ("memlock", "Max locked memory", 8192),
        ("msgqueue", "Max msgqueue size", 8192),
        ("nice", "Max nice priority", 0),
        ("nofile", "Max open files", 100),
        ("nproc", "Max processes", 1000),
        ("rss", "Max resident set", 1 << 30),
        ("rtprio", "Max realtime priority", 0),
        ("rttime", "Max realtime timeout", 1000),
        ("sigpending", "Max pending signals", 100),
        ("stack", "Max stack size", 1 << 22),
    ];
    let (mut job, _) = fixture.job(&["cat", "/proc/self/limits"]);
    for (name, _, value) in limits {
        job.ulimits.push(Ulimit {
            resource: UlimitName::parse(name).unwrap(),
            soft: Some(value),
            hard: Some(value),
        });
    }
    let text = fixture.output(&job);
    for (_, title, value) in limits {
        let line = text.lines().find(|line| line.starts_with(title)).unwrap();
        let words: Vec<_> = line[title.len()..].split_whitespace().collect();
        assert_eq!(words[..2], [value.to_string(), value.to_string()], "{line}");
    }
}

fn limits_that_cannot_be_set_are_named(fixture: &Fixture) {
    let (mut job, _) = fixture.job(&["true"]);
    job.ulimits = vec![Ulimit {
        resource: UlimitName::OpenFiles,
        soft: Some(20),
        hard: Some(10),
    }];
    let error = fixture.try_run(&job).err().unwrap();
    assert_eq!(error.to_string(), "setting the limit nofile=20:10");
    if fixture.level != PrivilegeLevel::Root {
        // Above what the kernel lets anybody but real root have.
        job.ulimits[0].soft = None;
        job.ulimits[0].hard = None;
        let error = fixture.try_run(&fixture.again(&job)).err().unwrap();
        assert_eq!(
            error.to_string(),
            "setting the limit nofile=unlimited:unlimited"
        );
    }
}

fn hostname_and_hosts(fixture: &Fixture) {
    let (mut job, upper) = fixture.job(&["sh", "-c", "hostname; cat /etc/hosts"]);
    assert_eq!(
        fixture.output(&job),
        format!("buildkitsandbox\n{}", hosts_text("buildkitsandbox", &[]))
    );
    job.hostname = "other".to_owned();
    let extra = [("db".to_owned(), "10.1.2.3".to_owned())];
    job.hosts = kiln_runtime::EtcFile::Text(hosts_text("other", &extra));
    job = fixture.again(&job);
    let text = fixture.output(&job);
    assert!(text.starts_with("other\n") && text.ends_with("10.1.2.3\tdb\n"));
    assert_eq!(list(&upper), [""; 0]);
    let resolv_conf = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    assert_eq!(fixture.sh("cat /etc/resolv.conf || true"), resolv_conf);
}

fn first_process_of_its_namespace(fixture: &Fixture) {
    assert_eq!(fixture.sh("echo $$; echo /proc/[0-9]*"), "1\n/proc/1\n");
}
