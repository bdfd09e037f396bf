//! Processes that kiln shares a machine with: those of other kilns, of builds that were killed, and
//! those that commands may not see.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use kiln_testbed::{Ended, Kiln, Tool, need, need_root};

use crate::program;

/// Returns a program that runs kiln in the environment that the test gives it.
fn wrapped(kiln: &Kiln, program: &Tool) -> Command {
    let inner = kiln.command();
    let mut command = program.command();
    command.current_dir(kiln.scratch.path());
    for (name, value) in inner.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    command
}

#[test]
fn info_says_whether_commands_see_other_processes() {
    need!(need_root());
    let kiln = need!(Kiln::for_builds(program()));
    let (unshare, setpriv) = (need!(Tool::find("unshare")), need!(Tool::find("setpriv")));
    let hidden = "those of others are hidden from commands";
    assert_eq!(kiln.ok(&["info", "-f", "{{.Processes}}"]), hidden);
    let masked = |variable: &str| {
        // As container engines hide parts of /proc, whereupon the kernel gives no process a new one.
        let script = "mount --bind /dev/null /proc/uptime && exec \"$@\"";
        let mut command = wrapped(&kiln, &unshare);
        command
            .args(["--mount", "sh", "-c", script, "sh"])
            .arg(setpriv.command().get_program())
            .args(["--bounding-set", "-sys_admin", "--", "env", variable])
            .args([env!("CARGO_BIN_EXE_kiln"), "info"]);
        Ended::from(command.output().unwrap())
    };
    let refused = masked("NO=1");
    let said = &refused.stdout;
    assert!(
        said.contains("Processes: no commands can be run: the kernel refuses a new /proc\n")
            && said.contains("let commands see all processes with KILN_OUTER_PROC=1"),
        "{refused:#?}"
    );
    let shown = masked("KILN_OUTER_PROC=1");
    let said = &shown.stdout;
    assert!(
        said.contains("Processes: all are seen by commands (KILN_OUTER_PROC)\n"),
        "{shown:#?}"
    );
}

/// Each takes the other's processes for ones that do not exist.
#[test]
fn kilns_of_other_pid_namespaces_leave_ones_mounts_alone() {
    need!(need_root());
    let kiln = need!(Kiln::for_builds(program()));
    let unshare = need!(Tool::find("unshare"));
    kiln.build_shell("base", "");
    let build = |number: usize| {
        let context = format!("ctx-{number}");
        let steps: String = (0..4)
            .map(|step| format!("RUN busybox sleep 0.1; echo {number} >> /steps; test {step}\n"))
            .collect();
        kiln.write(
            format!("{context}/Dockerfile"),
            &format!("FROM base\n{steps}"),
        );
        let mut command = wrapped(&kiln, &unshare);
        command
            .args(["--pid", "--fork", "--mount-proc"])
            .arg(env!("CARGO_BIN_EXE_kiln"))
            .args(["build", "--progress=plain", "-o", &format!("out-{number}")])
            .arg(&context)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let builds: Vec<_> = (0..4).map(build).collect();
    for (number, build) in builds.into_iter().enumerate() {
        let ended = Ended::from(build.wait_with_output().unwrap());
        assert_eq!(ended.code, 0, "{ended:#?}");
        let steps = kiln.scratch.join(format!("out-{number}/steps"));
        let expected = format!("{number}\n").repeat(4);
        assert_eq!(std::fs::read_to_string(steps).unwrap(), expected);
    }
}

/// A step that outlived its kiln went on writing into a cache mount that the next build had locked.
#[test]
fn cache_mounts_are_not_written_after_their_kiln_was_killed() {
    let kiln = need!(Kiln::for_builds(program()));
    let with_cache = |script: &str| {
        let mount = "--mount=type=cache,id=c,target=/c,sharing=locked";
        format!(
            "FROM scratch\nCOPY busybox /bin/sh\nCOPY busybox /bin/busybox\nRUN {mount} {script}\n"
        )
    };
    kiln.dockerfile(&with_cache(
        "busybox setsid sh -c 'while :; do echo x >> /c/log; busybox usleep 1000; done' & \
         until test -s /c/log; do busybox usleep 1000; done; echo at work; wait",
    ));
    let mut killed = kiln
        .command()
        .args(["build", "--progress=plain", "ctx"])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(killed.stderr.take().unwrap()).lines();
    let is_at_work = lines
        .map(Result::unwrap)
        .any(|line| line.ends_with(" at work"));
    assert!(is_at_work);
    killed.kill().unwrap();
    killed.wait().unwrap();
    kiln.dockerfile(&with_cache(
        "before=$(busybox wc -c < /c/log); busybox sleep 0.3; \
         test $before = $(busybox wc -c < /c/log)",
    ));
    kiln.ok(&["build", "ctx"]);
}
