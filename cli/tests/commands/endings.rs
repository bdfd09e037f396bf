//! How containers end, and what is known of it: no process listens any more, the disk is full, others
//! tidy up meanwhile.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use kiln_testbed::{Ended, Kiln, Tool, assert_no_leftovers, leftovers, need, need_root};

use crate::commands::harness::{interrupt, names};
use crate::program;

/// Starts a container in the foreground and returns once it has printed a line.
fn foreground(kiln: &Kiln, name: &str, script: &str) -> (Child, BufReader<ChildStdout>) {
    let mut child = kiln
        .command()
        .args(["run", "--name", name, "app", "sh", "-c", script])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "up\n");
    (child, output)
}

/// `run IMAGE yes | head -1` once went on until the disk was full.
#[test]
fn containers_without_a_listener_end() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.build_shell("app", "");
    let (child, output) = foreground(&kiln, "endless", "exec busybox yes up");
    drop(output);
    let ended = Ended::from(child.wait_with_output().unwrap());
    assert_eq!(ended.code, 1, "{ended:#?}");
    assert!(
        ended
            .stderr
            .contains("cannot write to standard output: Broken pipe"),
        "{ended:#?}"
    );
    let state = "{{.State.Status}} {{.State.ExitCode}}";
    assert_eq!(kiln.ok(&["inspect", "-f", state, "endless"]), "exited 137");
    // One that listens is asked, and has the time it needs.
    let script = "trap 'echo bye >&2; exit 3' TERM; echo up; while :; do echo x; done";
    let (child, output) = foreground(&kiln, "polite", script);
    drop(output);
    let ended = Ended::from(child.wait_with_output().unwrap());
    assert_eq!(ended.code, 1, "{ended:#?}");
    assert_eq!(kiln.run(&["logs", "polite"]).stderr, "bye\n");
    assert_eq!(kiln.ok(&["inspect", "-f", state, "polite"]), "exited 3");
    assert_no_leftovers(kiln.scratch.path());
}

/// The reader is there and does not read: once neither stop nor Ctrl-C reached such a container.
#[test]
fn slow_readers_hold_up_no_other_command() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.build_shell("app", "");
    let (mut child, mut output) = foreground(&kiln, "slow", "exec busybox yes up");
    assert_eq!(kiln.ok(&["stop", "-t", "0", "slow"]), "slow");
    let state = "{{.State.Status}} {{.State.ExitCode}}";
    assert_eq!(kiln.ok(&["inspect", "-f", state, "slow"]), "exited 137");
    // What it wrote can still be read.
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    // Killed amid a write, it may have ended amid a line.
    let mut lines = rest.as_bytes().chunks(b"up\n".len());
    let is_whole = lines.all(|line| b"up\n".starts_with(line));
    assert!(rest.len() > 60_000 && is_whole, "{}", rest.len());
    assert_eq!(child.wait().unwrap().code(), Some(137));
    let (mut child, output) = foreground(&kiln, "full", "exec busybox yes up");
    // Signals that come before the last one was taken are one.
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None => interrupt(&child),
        }
    };
    assert_eq!(status.code(), Some(1));
    drop(output);
    assert_eq!(kiln.ok(&["rm", "-f", "full"]), "full");
    assert_no_leftovers(kiln.scratch.path());
}

/// What programs sync in a container that is kept is to outlive a loss of power, which a volatile
/// mount does not see to; the kernel leaves a mark of one in the work directory.
#[test]
fn containers_that_are_kept_are_not_volatile() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.build_shell("app", "");
    kiln.ok(&["run", "--name", "kept", "app", "sh", "-c", ": > /file"]);
    let directory = kiln.ok(&["inspect", "-f", "{{.LogPath}}", "kept"]);
    let directory = Path::new(&directory).parent().unwrap();
    assert!(directory.join("upper/file").exists());
    assert!(directory.join("work/work").exists());
    assert!(!directory.join("work/work/incompat").exists());
}

/// Tests that failed once left containers running.
#[test]
fn a_test_that_fails_leaves_no_container() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.build_shell("app", "");
    let scratch = kiln.scratch.path().to_owned();
    let failed = std::thread::spawn(move || {
        kiln.ok(&["run", "-d", "app", "busybox", "sleep", "1000"]);
        std::panic::resume_unwind(Box::new("as a test that fails"));
    });
    assert!(failed.join().is_err());
    assert_no_leftovers(&scratch);
    assert!(!scratch.exists());
}

/// Docker's client leaves when it is asked for the third time.
#[test]
fn the_third_request_is_granted() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.build_shell("app", "");
    let script = "trap 'echo no' INT; echo up; while :; do busybox sleep 0.05; done";
    let (child, mut output) = foreground(&kiln, "stubborn", script);
    for _ in 0..2 {
        interrupt(&child);
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "no\n");
    }
    interrupt(&child);
    let ended = Ended::from(child.wait_with_output().unwrap());
    assert_eq!(ended.code, 1, "{ended:#?}");
    assert_eq!(
        ended.stderr,
        "\ngot 3 SIGTERM/SIGINTs, forcefully exiting\n"
    );
    // As docker's, the container goes on without it.
    let names = ["ps", "--format", "{{.Names}}"];
    assert_eq!(kiln.ok(&names), "stubborn");
    assert_eq!(kiln.ok(&["stop", "-t", "0", "stubborn"]), "stubborn");
    assert_no_leftovers(kiln.scratch.path());
}

/// Kills a kiln as nothing can be done about.
fn kill(child: &mut Child) {
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
}

/// A container has a process of its own beside it, also in the foreground.
#[test]
fn killing_kiln_leaves_the_container_to_its_monitor() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.build_shell("app", "");
    let script = "trap 'echo bye; exit 3' TERM; echo up; while :; do busybox sleep 0.05; done";
    let (mut child, mut output) = foreground(&kiln, "kept", script);
    kill(&mut child);
    // No process but kiln had the other end of its output.
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
    let names = ["ps", "--format", "{{.Names}}"];
    assert_eq!(kiln.ok(&names), "kept");
    assert_eq!(kiln.ok(&["stop", "kept"]), "kept");
    assert_eq!(kiln.ok(&["logs", "kept"]), "up\nbye");
    let state = "{{.State.Status}} {{.State.ExitCode}}";
    assert_eq!(kiln.ok(&["inspect", "-f", state, "kept"]), "exited 3");
    assert_no_leftovers(kiln.scratch.path());
}

#[test]
fn killing_kiln_leaves_removal_to_the_monitor() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.build_shell("app", "");
    // Its input ends with kiln.
    let mut child = kiln
        .command()
        .args(["run", "--rm", "-i", "--name", "passing", "app", "sh", "-c"])
        .arg("echo up; read line; busybox sleep 0.1; echo over")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "up\n");
    let held = child.stdin.take().unwrap();
    kill(&mut child);
    drop(held);
    let containers = kiln.scratch.join("state/containers");
    let deadline = Instant::now() + Duration::from_secs(60);
    while names(&containers) != ["lock"] {
        assert!(Instant::now() < deadline, "{:?}", names(&containers));
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_no_leftovers(kiln.scratch.path());
}

/// A monitor that is killed takes the container along, and says nothing about it.
#[test]
fn killing_the_monitor_ends_the_container_and_kiln() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.build_shell("app", "");
    let (child, _output) = foreground(&kiln, "lost", "echo up; exec busybox sleep 100000");
    let id = kiln.ok(&["inspect", "-f", "{{.Id}}", "lost"]);
    let monitor = leftovers(kiln.scratch.path())
        .iter()
        .map(ToString::to_string)
        .find(|found| found.contains("container-monitor") && found.contains(&id));
    let monitor = monitor.unwrap();
    let process = monitor
        .split_whitespace()
        .find(|word| word.parse::<u32>().is_ok());
    let killed = Command::new("kill").args(["-9", process.unwrap()]).status();
    assert!(killed.unwrap().success());
    let ended = Ended::from(child.wait_with_output().unwrap());
    assert_eq!(ended.code, 125, "{ended:#?}");
    assert!(
        ended
            .stderr
            .contains("the monitor of the container was killed"),
        "{ended:#?}"
    );
    let state = "{{.State.Status}} {{.State.ExitCode}}";
    assert_eq!(kiln.ok(&["inspect", "-f", state, "lost"]), "exited 137");
    assert_no_leftovers(kiln.scratch.path());
}

#[test]
fn waiting_tells_the_status_of_a_container_that_is_removed() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.build_shell("app", "");
    let id = kiln.ok(&[
        "run",
        "-d",
        "--rm",
        "app",
        "sh",
        "-c",
        "trap 'exit 6' TERM; while :; do busybox sleep 0.05; done",
    ]);
    let waiting = kiln
        .command()
        .args(["wait", &id])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Whether or not it waits by then, the answer is the same.
    while kiln.run(&["kill", "-s", "TERM", &id]).code == 0 {}
    let ended = Ended::from(waiting.wait_with_output().unwrap());
    if ended.code == 0 {
        assert_eq!(ended.stdout, "6\n");
    } else {
        // It was gone before it could be asked for.
        assert!(ended.stdout.is_empty(), "{ended:#?}");
    }
    assert_eq!(kiln.ok(&["ps", "-aq"]), "");
}

/// `logs -f` and `wait` once kept prune waiting for as long as the container ran.
#[test]
fn waiting_for_a_container_does_not_block_prune() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.build_shell("app", "");
    kiln.ok(&[
        "run",
        "-d",
        "--name",
        "web",
        "app",
        "sh",
        "-c",
        "echo up; busybox sleep 100000",
    ]);
    let start = |arguments: &[&str]| {
        let mut command = kiln.command();
        command
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let mut following = start(&["logs", "-f", "web"]);
    let mut line = String::new();
    let mut output = BufReader::new(following.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "up\n");
    let mut others = [start(&["wait", "web"]), start(&["stop", "-t", "-1", "web"])];
    for command in ["system prune -f", "image prune -f", "cache prune -f"] {
        let ended = kiln.run(&command.split(' ').collect::<Vec<_>>());
        assert_eq!(ended.code, 0, "{ended:#?}");
        assert!(following.try_wait().unwrap().is_none());
    }
    kiln.ok(&["rm", "-f", "web"]);
    for child in others.iter_mut().chain([&mut following]) {
        child.wait().unwrap();
    }
}

#[test]
fn containers_are_stopped_side_by_side() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.build_shell("app", "");
    // The first ends only after the second has.
    fs::create_dir(kiln.scratch.join("shared")).unwrap();
    let first = "trap 'while ! test -e /s/second; do busybox sleep 0.05; done; exit 0' TERM; \
                 : > /s/up1; while :; do busybox sleep 0.05; done";
    let second =
        "trap ': > /s/second; exit 0' TERM; : > /s/up2; while :; do busybox sleep 0.05; done";
    for (name, script) in [("one", first), ("two", second)] {
        let script = script.replace("test -e", "busybox test -e");
        kiln.ok(&[
            "run",
            "-d",
            "-v",
            "./shared:/s",
            "--name",
            name,
            "app",
            "sh",
            "-c",
            &script,
        ]);
    }
    while names(&kiln.scratch.join("shared")).len() < 2 {}
    let ended = kiln.run(&["stop", "-t", "-1", "one", "nobody", "two"]);
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (1, "one\ntwo\n"),
        "{ended:#?}"
    );
    assert!(
        ended.stderr.contains("No such container: nobody"),
        "{ended:#?}"
    );
    let codes = kiln.ok(&["wait", "one", "two"]);
    assert_eq!(codes, "0\n0");
    assert_eq!(kiln.ok(&["rm", "one", "two"]), "one\ntwo");
}

/// A container that is made and not started yet once went with `system prune`.
#[test]
fn tidying_up_spares_what_is_about_to_start() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.build_shell("app", "");
    let over = kiln.scratch.join("over");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.exists() {
                for what in ["container", "system"] {
                    let ended = kiln.run(&[what, "prune", "-f"]);
                    assert_eq!(ended.code, 0, "{ended:#?}");
                }
            }
        });
        for _ in 0..20 {
            let ended = kiln.run(&["run", "-d", "--rm", "app", "sh", "-c", "busybox sleep 0.01"]);
            if ended.code != 0 {
                fs::write(&over, "").unwrap();
            }
            assert_eq!(ended.code, 0, "{ended:#?}");
        }
        fs::write(&over, "").unwrap();
    });
    // What a crash left of one that was being made goes, however much of it was made.
    let containers = kiln.scratch.join("state/containers");
    fs::create_dir_all(containers.join("new-crashed/upper")).unwrap();
    kiln.ok(&["container", "prune", "-f"]);
    // A kiln that waited for the last of them may still be taking it away: no container any more,
    // but for a moment yet a directory.
    let deadline = Instant::now() + Duration::from_secs(60);
    while names(&containers) != ["lock"] {
        assert!(Instant::now() < deadline, "{:?}", names(&containers));
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(kiln.ok(&["ps", "-aq"]), "");
}

#[test]
fn containers_follow_the_state_directory() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.build_shell("app", "");
    let script = "busybox cat /mark; echo x >> /mark; busybox cat /etc/hosts";
    let first = kiln.run(&["run", "--name", "web", "app", "sh", "-c", script]);
    assert_eq!(first.code, 0, "{first:#?}");
    fs::rename(kiln.scratch.join("state"), kiln.scratch.join("elsewhere")).unwrap();
    let elsewhere = |arguments: &[&str]| {
        let mut command = kiln.command();
        command.env("KILN_ROOT", kiln.scratch.join("elsewhere"));
        Ended::from(command.args(arguments).output().unwrap())
    };
    for arguments in [&["start", "web"][..], &["wait", "web"]] {
        let ended = elsewhere(arguments);
        assert_eq!(ended.code, 0, "{arguments:?}: {ended:#?}");
    }
    let logs = elsewhere(&["logs", "web"]);
    let again = format!("{}x\n{}", first.stdout, first.stdout);
    assert_eq!(logs.stdout, again, "{logs:#?}");
    // What it needs is still known to be needed.
    assert_eq!(
        elsewhere(&["system", "prune", "-af", "--filter", "until=1h"]).code,
        0
    );
    assert_eq!(elsewhere(&["start", "web"]).code, 0);
    assert_eq!(elsewhere(&["rm", "-f", "web"]).code, 0);
    assert!(!kiln.scratch.join("state").exists());
}

/// Every step says what it did; the disk has 24 MB, and the container takes what is left of them.
const FULL_DISK: &str = r#"
mount -t tmpfs -o size=24m,nr_inodes=4000 none "$KILN_ROOT"
"$kiln" build -q -t app ctx >/dev/null
fill='echo begin; busybox dd if=/dev/zero of=/fill bs=4k 2>/dev/null
busybox dd if=/dev/zero of=/fill2 bs=1 2>/dev/null
i=0; while busybox test $i -lt 200; do echo lost $i; i=$((i + 1)); done; exit 7'
"$kiln" run -d --name back app sh -c "$fill" >/dev/null
echo "wait $("$kiln" wait back)"
echo "inspect $("$kiln" inspect -f '{{.State.Status}} {{.State.ExitCode}}' back)"
echo "ps $("$kiln" ps -a --format '{{.Names}} {{.State}}')"
"$kiln" logs back >logs 2>lost
echo "logs $(head -n 1 logs) $(grep -c 'lost\|lacks' lost)"
"$kiln" run app sh -c 'exit 3' 2>refused
echo "run $? $(grep -c 'No space left' refused)"
"$kiln" rm back
"$kiln" run --name front app sh -c "$fill" >front 2>warned
echo "front $? $(grep -c lost front) $(grep -c 'lacks its last' warned)"
"$kiln" rm front
"$kiln" run --rm app sh -c 'exit 3'
echo "again $?"
"#;

/// Its exit status, its state and a word about its log outlive a full disk.
#[test]
fn a_full_disk_takes_no_status() {
    need!(need_root());
    let unshare = need!(Tool::find("unshare"));
    let kiln = need!(Kiln::for_builds(program()));
    kiln.dockerfile("FROM scratch\nCOPY busybox /bin/busybox\nCOPY busybox /bin/sh\n");
    fs::create_dir_all(kiln.scratch.join("state")).unwrap();
    let mut command = unshare.command();
    command.args(["--mount", "--propagation", "private", "sh", "-c", FULL_DISK]);
    let mut command = kiln.bind(command, &kiln.state());
    command.env("kiln", env!("CARGO_BIN_EXE_kiln"));
    let output = command.output().unwrap();
    assert_eq!(output.status.signal(), None);
    let ended = Ended::from(output);
    assert_eq!(
        ended.stdout,
        "wait 7\ninspect exited 7\nps back exited\nlogs begin 1\nrun 125 1\nback\n\
         front 7 200 1\nfront\nagain 3\n",
        "{ended:#?}"
    );
}
