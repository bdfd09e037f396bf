//! Output to the last byte, cancellation, and what is left when everything is over.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use kiln_runtime::userns::{self, PrivilegeLevel};
use kiln_runtime::{End, ExecError, Executor, LocalExecutor, Resources, Stream};
use kiln_testbed::{assert_no_leftovers, cases};
use kiln_threads::Stop;

use crate::fixture::{Fixture, Ran};

pub(crate) const CASES: &[crate::Case] = cases![
    output_is_complete
    last_words_arrive
    background_processes_do_not_hold_it
    cancelling_kills_the_namespace
    cancelled_before_it_starts
    killed_from_outside
    many_at_the_same_time
    a_panic_in_the_output_kills_it
    nothing_survives_a_killed_parent
    process_that_resets_its_death_signal_dies_too
    killed_keeper_ends_every_sandbox
    memory_limits_kill
    fork_beyond_the_process_limit_fails
    impossible_limits_are_errors
];

fn output_is_complete(fixture: &Fixture) {
    let script = "dd if=/dev/zero bs=64k count=512 2>/dev/null & \
                  dd if=/dev/zero bs=64k count=256 2>/dev/null | cat >&2; wait";
    let (job, _) = fixture.job(&["sh", "-c", script]);
    let ran = fixture.run(&job);
    assert_eq!(ran.stdout.len(), 512 << 16);
    assert_eq!(ran.stderr.len(), 256 << 16);
}

fn last_words_arrive(fixture: &Fixture) {
    let (job, _) = fixture.job(&["sh", "-c", "echo out; echo err >&2; exit 7"]);
    for _ in 0..20 {
        let Ran {
            outcome,
            stdout,
            stderr,
        } = fixture.run(&fixture.again(&job));
        assert_eq!(outcome.end, End::Exited(7));
        assert_eq!((&*stdout, &*stderr), (&b"out\n"[..], &b"err\n"[..]));
    }
}

fn background_processes_do_not_hold_it(fixture: &Fixture) {
    assert_eq!(
        fixture.sh("sleep 10000 & setsid sleep 10000 & echo done"),
        "done\n"
    );
}

fn cancelling_kills_the_namespace(fixture: &Fixture) {
    let script = "trap '' TERM INT; (trap '' TERM; sleep 10000) & echo ready; sleep 10000";
    let (job, _) = fixture.job(&["sh", "-c", script]);
    let stop = Stop::default();
    let mut trigger = |_: Stream, bytes: &[u8]| {
        assert_eq!(bytes, b"ready\n");
        stop.ask();
    };
    let outcome = fixture.executor.run(&job, &mut trigger, &stop).unwrap();
    assert_eq!(outcome.end, End::Cancelled);
}

fn cancelled_before_it_starts(fixture: &Fixture) {
    let (job, _) = fixture.job(&["sleep", "10000"]);
    let stop = Stop::default();
    stop.ask();
    let outcome = fixture
        .executor
        .run(&job, &mut |_: Stream, _: &[u8]| {}, &stop)
        .unwrap();
    assert_eq!(outcome.end, End::Cancelled);
}

fn killed_from_outside(fixture: &Fixture) {
    // Other suites may run at the same time, as other users too.
    let script = format!("echo ready; sleep 10000; exit {}", std::process::id());
    let argv = ["sh", "-c", &script];
    let (job, _) = fixture.job(&argv);
    let killed = AtomicBool::new(false);
    let mut kill = |_: Stream, _: &[u8]| {
        for process in fs::read_dir("/proc").unwrap().flatten() {
            let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
            if command == argv.map(|word| format!("{word}\0")).concat().as_bytes() {
                let id: i32 = process.file_name().to_str().unwrap().parse().unwrap();
                let status = Command::new("kill").arg("-9").arg(id.to_string()).status();
                // The fork that becomes `sleep` looks the same for a moment, and may be gone by now.
                killed.fetch_or(status.unwrap().success(), Ordering::Relaxed);
            }
        }
    };
    let outcome = fixture
        .executor
        .run(&job, &mut kill, &Stop::default())
        .unwrap();
    assert!(killed.into_inner());
    assert_eq!(outcome.end, End::Killed(9));
    assert_eq!(outcome.end.code(), 137);
}

fn many_at_the_same_time(fixture: &Fixture) {
    std::thread::scope(|scope| {
        for thread in 0..12 {
            scope.spawn(move || {
                for round in 0..5 {
                    let text = format!("{thread}-{round}");
                    assert_eq!(fixture.sh(&format!("echo {text}")), format!("{text}\n"));
                }
            });
        }
    });
}

fn a_panic_in_the_output_kills_it(fixture: &Fixture) {
    let directory = fixture.directory();
    let script = format!("echo {}; sleep 10000; exit", directory.display());
    let (job, _) = fixture.job(&["sh", "-c", &script]);
    let stop = Stop::default();
    let mut panic = |_: Stream, _: &[u8]| std::panic::resume_unwind(Box::new("full"));
    let run = || fixture.executor.run(&job, &mut panic, &stop);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
    assert!(result.is_err());
    assert_no_leftovers(&directory);
}

/// Kills processes with running sandboxes at various moments: none of theirs may remain.
fn nothing_survives_a_killed_parent(fixture: &Fixture) {
    let own = std::env::current_exe().unwrap();
    for round in 0..12_u64 {
        let directory = fixture.directory();
        let mut victim = Command::new(&own)
            .arg("--victim")
            .arg(&directory)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "started");
        if round % 3 == 0 {
            // All sandboxes up and running; otherwise somewhere in the middle of starting them.
            assert_eq!(lines.next().unwrap().unwrap(), "running");
        } else {
            std::thread::sleep(std::time::Duration::from_micros(700 * round));
        }
        victim.kill().unwrap();
        victim.wait().unwrap();
        assert_no_leftovers(&directory);
    }
}

/// Runs sandboxes that never end, until it is killed.
pub(crate) fn victim(directory: &Path) -> ExitCode {
    let level = userns::enter(&userns::Options::default()).unwrap();
    let fixture = Fixture::new(directory, level).ok().unwrap();
    let say = |word: &str| {
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "{word}")
            .and_then(|()| stdout.flush())
            .unwrap();
    };
    say("started");
    let ready = std::sync::Barrier::new(4);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let script = format!("sleep 10000 & echo {}; sleep 10000", directory.display());
                let (job, _) = fixture.job(&["sh", "-c", &script]);
                let mut wait = |_: Stream, _: &[u8]| {
                    ready.wait();
                };
                fixture
                    .executor
                    .run(&job, &mut wait, &Stop::default())
                    .unwrap();
            });
        }
        ready.wait();
        say("running");
    });
    ExitCode::FAILURE
}

/// A step asks to outlive its parent, for itself and for a child in a session of its own.
fn process_that_resets_its_death_signal_dies_too(fixture: &Fixture) {
    let own = std::env::current_exe().unwrap();
    let directory = fixture.directory();
    let mut victim = Command::new(&own)
        .arg("--stubborn-victim")
        .arg(&directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "running");
    victim.kill().unwrap();
    victim.wait().unwrap();
    assert_no_leftovers(&directory);
}

/// Runs a sandbox that wants to outlive this process, until it is killed.
pub(crate) fn stubborn_victim(directory: &Path) -> ExitCode {
    let level = userns::enter(&userns::Options::default()).unwrap();
    let fixture = Fixture::new(directory, level).ok().unwrap();
    let (job, _) = fixture.own_job(&["--outlive", directory.to_str().unwrap()]);
    let mut say = |_: Stream, bytes: &[u8]| {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(bytes).unwrap();
        stdout.flush().unwrap();
    };
    let stop = Stop::default();
    fixture.executor.run(&job, &mut say, &stop).unwrap();
    ExitCode::FAILURE
}

/// Lives on whatever happens to the parent, inside the sandbox.
pub(crate) fn outlive(directory: &str) -> ExitCode {
    rustix::process::set_parent_process_death_signal(None).unwrap();
    let mut child = Command::new("/bin/busybox")
        .args(["setsid", "sh", "-c", &format!("sleep 10000; : {directory}")])
        .spawn()
        .unwrap();
    println!("running");
    child.wait().unwrap();
    ExitCode::SUCCESS
}

fn killed_keeper_ends_every_sandbox(fixture: &Fixture) {
    let script = "ls /proc | grep -c '^[0-9]'; sleep 10000; exit";
    let (job, _) = fixture.job(&["sh", "-c", script]);
    let children = || {
        let numbers = fs::read_to_string("/proc/thread-self/children").unwrap();
        let numbers = numbers.split_whitespace().map(str::to_owned);
        numbers.collect::<Vec<_>>()
    };
    // Those of a thread that ended go to another one.
    let before = children();
    // An executor of its own: nobody else's steps are to end.
    let executor = LocalExecutor::new(&fixture.directory()).unwrap();
    let mut kill = |_: Stream, bytes: &[u8]| {
        // The step sees itself and what it runs.
        assert!(matches!(bytes, [b'1'..=b'4', b'\n']), "{bytes:?}");
        let mounts = |id: &str| fs::read_link(format!("/proc/{id}/ns/mnt")).ok();
        let own = mounts("self").unwrap();
        // Of the children of this thread, the step has mounts of its own.
        let keeper = children()
            .into_iter()
            .find(|id| !before.contains(id) && mounts(id).is_some_and(|mounts| mounts == own));
        let id = rustix::process::Pid::from_raw(keeper.unwrap().parse().unwrap()).unwrap();
        rustix::process::kill_process(id, rustix::process::Signal::KILL).unwrap();
    };
    let outcome = executor.run(&job, &mut kill, &Stop::default());
    assert_eq!(outcome.unwrap().end, End::Killed(9));
}

fn limited(fixture: &Fixture, script: &str, resources: Resources) -> Option<Ran> {
    let (mut job, _) = fixture.job(&["sh", "-c", script]);
    job.resources = resources;
    match fixture.try_run(&job) {
        Ok(ran) => Some(ran),
        Err(ExecError::Limit { limit, reason }) => {
            // Root of a machine whose groups are writable has no excuse.
            let writable = fs::create_dir_all("/sys/fs/cgroup/memory/kiln").is_ok();
            assert!(
                !(writable && fixture.level == PrivilegeLevel::Root),
                "{limit}: {reason}"
            );
            kiln_testbed::Skip::because(format!("cannot limit {limit}: {reason}")).announce();
            None
        }
        Err(other) => panic!("{other}"),
    }
}

fn memory_limits_kill(fixture: &Fixture) {
    let resources = Resources {
        memory_bytes: Some(16 << 20),
        memory_and_swap_bytes: Some(16 << 20),
        ..Resources::default()
    };
    let script = "tail /dev/zero; echo code $?; cat /proc/self/cgroup >&2";
    if let Some(ran) = limited(fixture, script, resources) {
        assert_eq!(String::from_utf8_lossy(&ran.stdout), "code 137\n");
        assert!(ran.outcome.out_of_memory);
        let groups = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(
            !groups.contains("kiln"),
            "the namespace hides where it is: {groups}"
        );
    }
}

fn fork_beyond_the_process_limit_fails(fixture: &Fixture) {
    let resources = Resources {
        pids: Some(5),
        ..Resources::default()
    };
    let script = "for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done";
    if let Some(ran) = limited(fixture, script, resources) {
        let errors = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(errors.contains("can't fork"), "{errors}");
        assert!(!ran.outcome.out_of_memory);
    }
}

fn impossible_limits_are_errors(fixture: &Fixture) {
    let (mut job, _) = fixture.job(&["true"]);
    job.resources.cpuset_cpus = Some("4000-5000".to_owned());
    let error = fixture.try_run(&job).err().unwrap();
    assert!(
        matches!(
            error,
            ExecError::Limit {
                limit: "cpuset-cpus",
                ..
            }
        ),
        "{error}"
    );
}
