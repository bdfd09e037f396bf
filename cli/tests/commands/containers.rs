//! Containers from start to end (docs/spec/cli.md 4, 5 and 10).

use std::fs;
use std::process::Command;

use kiln_testbed::{Kiln, assert_no_leftovers, need};

use crate::program;

#[test]
fn the_process_speaks_for_itself() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.build_shell("app", "ENV A=image\nCMD [\"sh\", \"-c\", \"echo $A\"]");
    assert_eq!(kiln.ok(&["run", "--rm", "app"]), "image");
    assert_eq!(kiln.ok(&["run", "--rm", "-e", "A=flag", "app"]), "flag");
    assert_eq!(
        kiln.ok(&["run", "--rm", "-w", "/w", "app", "sh", "-c", "pwd"]),
        "/w"
    );
    let ended = kiln.run(&[
        "run",
        "--rm",
        "app",
        "sh",
        "-c",
        "echo out; echo err >&2; exit 7",
    ]);
    assert_eq!(
        (ended.stdout.as_str(), ended.stderr.as_str()),
        ("out\n", "err\n")
    );
    assert_eq!(ended.code, 7);
    let ended = kiln.run_with(
        "in\n",
        &["run", "--rm", "-i", "app", "sh", "-c", "read x; echo $x"],
    );
    assert_eq!(ended.stdout, "in\n", "{ended:#?}");
    // Without -i, input ends at once.
    let ended = kiln.run_with(
        "in\n",
        &["run", "--rm", "app", "sh", "-c", "read x || echo end"],
    );
    assert_eq!(ended.stdout, "end\n", "{ended:#?}");
    assert_eq!(kiln.ok(&["ps", "-aq"]), "");
    assert_no_leftovers(kiln.scratch.path());
}

/// docs/spec/cli.md 0.1.
#[test]
fn statuses_tell_who_failed() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.build_shell("app", "");
    for (arguments, code, message) in [
        (
            &["app", "/bin/nothing"][..],
            127,
            "no such file or directory",
        ),
        (
            &["app", "nothing"],
            127,
            "executable file not found in $PATH",
        ),
        (&["app", "/bin"], 126, "exec"),
        (&["app"], 125, "no command specified"),
        (
            &["-u", "nobody-here", "app", "sh"],
            125,
            "unable to find user",
        ),
        (&["-it", "app", "sh"], 125, "the input device is not a TTY"),
    ] {
        let ended = kiln.run(&[&["run", "--rm"], arguments].concat());
        assert_eq!(ended.code, code, "{arguments:?}: {ended:#?}");
        assert!(ended.stderr.contains(message), "{arguments:?}: {ended:#?}");
    }
}

#[test]
fn a_detached_container_lives_on() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.build_shell("app", "");
    let script = "echo out; echo err >&2; trap 'exit 5' TERM; while :; do busybox sleep 0.05; done";
    let id = kiln.ok(&[
        "run",
        "-d",
        "--name",
        "web",
        "-l",
        "tier=front",
        "app",
        "sh",
        "-c",
        script,
    ]);
    assert_eq!(id.len(), 64);
    assert_eq!(kiln.ok(&["ps", "-q"]), id[..12]);
    assert_eq!(
        kiln.ok(&[
            "ps",
            "--format",
            "{{.Names}} {{.State}} {{.Label \"tier\"}}"
        ]),
        "web running front"
    );
    let ended = kiln.run(&["run", "--name", "web", "app", "sh"]);
    assert_eq!(ended.code, 125);
    assert!(
        ended
            .stderr
            .contains("The container name \"/web\" is already in use"),
        "{ended:#?}"
    );
    let ended = kiln.run(&["rm", "web"]);
    assert!(ended.stderr.contains("container is running"), "{ended:#?}");
    // The container has set its trap once it has written.
    while kiln.run(&["logs", "web"]).stderr != "err\n" {}
    assert_eq!(kiln.ok(&["stop", "web"]), "web");
    let state = kiln.ok(&[
        "inspect",
        "-f",
        "{{.State.Status}} {{.State.ExitCode}}",
        &id[..6],
    ]);
    assert_eq!(state, "exited 5");
    assert_eq!(kiln.ok(&["wait", "web"]), "5");
    let ended = kiln.run(&["logs", "web"]);
    assert_eq!(
        (ended.stdout.as_str(), ended.stderr.as_str()),
        ("out\n", "err\n")
    );
    for (count, stdout, stderr) in [("0", "", ""), ("1", "", "err\n"), ("7", "out\n", "err\n")] {
        let ended = kiln.run(&["logs", "--tail", count, "web"]);
        let shown = (ended.stdout.as_str(), ended.stderr.as_str());
        assert_eq!(shown, (stdout, stderr), "--tail {count}");
    }
    let ended = kiln.run(&["kill", "web"]);
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("is not running"), "{ended:#?}");
    assert_eq!(kiln.ok(&["ps", "-q"]), "");
    assert_eq!(kiln.ok(&["ps", "-aq", "--filter", "exited=5"]), id[..12]);
    // It starts again with the files it had.
    assert_eq!(kiln.ok(&["start", "web"]), "web");
    assert_eq!(kiln.ok(&["ps", "-q"]), id[..12]);
    assert_eq!(kiln.ok(&["rm", "-f", "web"]), "web");
    assert_eq!(kiln.ok(&["ps", "-aq"]), "");
    assert_no_leftovers(kiln.scratch.path());
}

#[test]
fn directories_of_the_host_can_be_shown() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.build_shell("app", "");
    kiln.write("data/file", "here\n");
    let text = kiln.ok(&[
        "run",
        "--rm",
        "-v",
        "./data:/d:ro",
        "app",
        "busybox",
        "cat",
        "/d/file",
    ]);
    assert_eq!(text, "here");
    let ended = kiln.run(&[
        "run",
        "--rm",
        "-v",
        "./data:/d:ro",
        "app",
        "sh",
        "-c",
        ">/d/new",
    ]);
    assert_ne!(ended.code, 0);
    kiln.ok(&[
        "run", "--rm", "-v", "./new:/d", "app", "sh", "-c", ">/d/made",
    ]);
    assert!(kiln.scratch.join("new/made").exists());
}

/// A directory that only `VOLUME` names was not there.
#[test]
fn volumes_are_directories_of_the_container() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.build_shell(
        "app",
        "COPY --chmod=750 --chown=7:8 Dockerfile /filled/\nVOLUME /data /filled relative\nCMD echo x >> /data/f",
    );
    kiln.ok(&["run", "--name", "vol", "app"]);
    kiln.ok(&["start", "vol"]);
    assert_eq!(kiln.ok(&["wait", "vol"]), "0");
    let script = "busybox stat -c '%n %a %u:%g' /data /relative /filled/*";
    assert_eq!(
        kiln.ok(&["run", "--rm", "app", "sh", "-c", script]),
        "/data 755 0:0\n/relative 755 0:0\n/filled/Dockerfile 750 7:8"
    );
    kiln.write("host/f", "here\n");
    let show = [
        "run",
        "--rm",
        "-v",
        "./host:/data",
        "app",
        "busybox",
        "cat",
        "/data/f",
    ];
    assert_eq!(kiln.ok(&show), "here");
    assert_no_leftovers(kiln.scratch.path());
}

/// `^web$` once listed web2, and scripts remove by such lists.
#[test]
fn containers_are_selected_by_regular_expressions() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.build_shell("app", "");
    for name in ["web", "web2", "db"] {
        kiln.ok(&["run", "--name", name, "app", "sh", "-c", "exit 0"]);
    }
    for (pattern, expected) in [
        ("^web$", "web"),
        ("^/web$", "web"),
        ("web", "web2 web"),
        ("^(web|db)$", "db web"),
        ("e.2", "web2"),
        ("*", ""),
    ] {
        let filter = format!("name={pattern}");
        let format = ["ps", "-a", "--format", "{{.Names}}", "--filter", &filter];
        assert_eq!(kiln.ok(&format).replace('\n', " "), expected, "{pattern}");
    }
    for (flags, message) in [
        (&["-m", "1m"][..], "Minimum memory limit allowed is 6MB"),
        (&["--cpus", "100000"], "range of CPUs is from 0.01 to "),
    ] {
        let ended = kiln.run(&[&["run", "--rm"], flags, &["app", "sh", "-c", "exit 0"]].concat());
        assert_eq!(ended.code, 125, "{ended:#?}");
        assert!(ended.stderr.contains(message), "{ended:#?}");
    }
}

/// `/etc/resolv.conf` was the host's, which no user of the container could write to, and there was no `/etc/hostname`.
#[test]
fn names_are_the_containers_own() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.build_shell("app", "");
    let script = "cat /etc/hostname; for f in hostname hosts resolv.conf; do \
                  echo more >> /etc/$f && busybox tail -n 1 /etc/$f; done";
    let script = script.replace("cat ", "busybox cat ");
    for (user, umask) in [("0", "022"), ("7", "022"), ("7", "077")] {
        let plain = kiln.command();
        let mut shell = Command::new("sh");
        shell.args(["-c", "umask $0; exec \"$@\"", umask]);
        shell.arg(plain.get_program());
        shell.args(["run", "--rm", "-h", "me", "-u", user, "app", "busybox"]);
        shell.args(["cat", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf"]);
        let variables = plain.get_envs();
        shell.envs(variables.filter_map(|(name, value)| Some((name, value?))));
        let output = shell.current_dir(kiln.scratch.path()).output().unwrap();
        assert!(output.status.success(), "{user} {umask}: {output:?}");
        assert!(output.stdout.starts_with(b"me\n127.0.0.1"), "{output:?}");
    }
    let run = [
        "run", "--name", "one", "-h", "me", "app", "sh", "-c", &script,
    ];
    assert_eq!(kiln.ok(&run), "me\nmore\nmore\nmore");
    // It is there when the container is started again, and nowhere else.
    kiln.ok(&["start", "one"]);
    kiln.ok(&["wait", "one"]);
    assert!(
        kiln.ok(&["logs", "one"])
            .ends_with("me\nmore\nmore\nmore\nmore")
    );
    let hosts = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    assert!(!hosts.contains("more"), "{hosts}");
    let shown = kiln.ok(&["run", "--rm", "app", "busybox", "cat", "/etc/resolv.conf"]);
    assert_eq!(shown, hosts.trim_end_matches('\n'));
    // Who starts it elsewhere gets the name servers of that place, unless the container has others.
    let cat = [
        "run",
        "--name",
        "two",
        "app",
        "busybox",
        "cat",
        "/etc/resolv.conf",
    ];
    kiln.ok(&cat);
    let id = kiln.ok(&["inspect", "-f", "{{.Id}}", "two"]);
    let directory = kiln.scratch.join("state/containers").join(id);
    for given in ["nameserver 192.0.2.1", "other"] {
        fs::write(directory.join("resolv.conf"), "nameserver 192.0.2.1").unwrap();
        fs::write(directory.join("resolv.conf.host"), given).unwrap();
        kiln.ok(&["start", "two"]);
        kiln.ok(&["wait", "two"]);
    }
    let logs = kiln.ok(&["logs", "two"]);
    assert_eq!(logs, format!("{hosts}{hosts}nameserver 192.0.2.1"));
}
