//! Where hardly a process or thread may be started, kiln does what it can and says what it cannot.

use std::fs;
use std::process::{Command, Output};

use kiln_testbed::{
    Kiln, ProcessLimit, Registry, Skip, User, assert_no_leftovers, busybox, need, ordinary_user,
    stranger,
};

use crate::program;

/// Enough that several threads would share them.
const FILES: usize = 300;

const DOCKERFILE: &str = "FROM scratch\nCOPY --chmod=755 busybox /bin/sh\nCOPY data /data\n\
    RUN [\"/bin/sh\", \"-c\", \"cat /data/* > /all\"]\n";

struct Few {
    kiln: Kiln,
    registry: Registry,
    limit: ProcessLimit,
}

impl Few {
    fn new(limit: ProcessLimit, user: Option<User>) -> Result<Self, Skip> {
        let registry = Registry::shared()?;
        let kiln = match user {
            Some(user) => Kiln::of_user(program(), user),
            None => Kiln::new(program()),
        };
        kiln.knows(&registry);
        let few = Self {
            kiln,
            registry,
            limit,
        };
        let data = few.kiln.scratch.join("context/data");
        fs::create_dir_all(&data).unwrap();
        fs::copy(busybox()?, few.kiln.scratch.join("context/busybox")).unwrap();
        fs::write(few.kiln.scratch.join("context/Dockerfile"), DOCKERFILE).unwrap();
        for number in 0..FILES {
            let path = data.join(format!("{number:03}"));
            fs::write(&path, format!("{number}\n").repeat(number)).unwrap();
        }
        // Large ones are hashed, copied and packed in other ways.
        fs::write(data.join("large"), vec![b'x'; 9 << 20]).unwrap();
        let open = Command::new("chmod")
            .args(["-R", "a+rX"])
            .arg(few.kiln.scratch.path())
            .status();
        assert!(open.unwrap().success());
        Ok(few)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.kiln.command();
        command.args(arguments);
        command
    }

    /// Builds without a limit, and checks what comes of it.
    fn build_right(&self, name: &str) {
        let build = ["build", "-q", "-t", name, "context"];
        self.kiln.ok(&build);
        let run = ["run", "--rm", name, "/bin/sh", "-c", "cat /all"];
        let all = self.command(&run).output().unwrap().stdout;
        let mut expected = String::new();
        for number in 0..FILES {
            expected.push_str(&format!("{number}\n").repeat(number));
        }
        expected.push_str(&"x".repeat(9 << 20));
        assert!(all == expected.as_bytes(), "{} bytes", all.len());
    }
}

/// Checks that a command succeeded or said what was missing, and returns whether it succeeded.
#[track_caller]
fn is_done(what: &str, output: &Output) -> bool {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("panicked"), "{what}: {said}");
    match output.status.code() {
        Some(0) => true,
        Some(1 | 125) => {
            assert!(said.contains("raise the limit"), "{what}: {said}");
            false
        }
        _ => panic!("{what} ended with {}: {said}", output.status),
    }
}

fn every_command_with_few_processes(few: &Few) {
    // By a name, which has to be looked up.
    let by_name = |image: &str| few.registry.image(image).replace("127.0.0.1", "localhost");
    let (pulled, pushed) = (by_name("pulled"), by_name("pushed"));
    few.build_right("app");
    for arguments in [
        &["tag", "app", &pulled][..],
        &["push", "-q", &pulled],
        &["save", "-o", "app.tar", "app"],
        &["builder", "prune", "--all", "--force"],
        &["tag", "app", &pushed],
    ] {
        few.kiln.ok(arguments);
    }
    let mut done = 0;
    for most in 1..=8 {
        for arguments in [
            &["images"][..],
            &["build", "-q", "--no-cache", "-t", "new", "context"],
            &["save", "-o", "new.tar", "app"],
            &["load", "-q", "-i", "app.tar"],
            &["pull", "-q", &pulled],
            &["push", "-q", &pushed],
            &["run", "--rm", "app", "/bin/sh", "-c", "true"],
            &["builder", "prune", "--all", "--force"],
        ] {
            few.limit.wait_until_empty();
            let mut limited = few.limit.inside(most, &few.command(arguments));
            let what = format!("{arguments:?} with {most} processes");
            done += u32::from(is_done(&what, &limited.output().unwrap()));
        }
    }
    assert!(done >= 32, "{done} commands succeeded");
    few.build_right("after");
    few.build_right("app");
    let verify = ["cache", "verify"];
    let verified = few.kiln.ok(&verify);
    assert!(verified.ends_with(": no damage"), "{verified}");
    assert_no_leftovers(few.kiln.scratch.path());
}

#[test]
fn few_processes_are_enough_or_too_few() {
    let limit = need!(ProcessLimit::in_group("root"));
    every_command_with_few_processes(&need!(Few::new(limit, None)));
}

#[test]
fn few_processes_of_an_ordinary_user_are_enough_or_too_few() {
    let user = need!(ordinary_user());
    let limit = need!(ProcessLimit::in_group("user"));
    every_command_with_few_processes(&need!(Few::new(limit, Some(user))));
}

#[test]
fn few_processes_by_ulimit_are_enough_or_too_few() {
    let user = need!(stranger());
    let limit = need!(ProcessLimit::of_user(&user));
    every_command_with_few_processes(&need!(Few::new(limit, Some(user))));
}
