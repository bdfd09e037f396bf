//! Where hardly a process or thread may be started, kiln does what it can and says what it cannot.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use kiln_testbed::{
    ProcessLimit, Registry, Scratch, Skip, User, assert_no_leftovers, busybox, copy_for_everyone,
    need, ordinary_user, stranger,
};

use crate::acceptance::harness::{program, succeeded};

/// Enough that several threads would share them.
const FILES: usize = 300;

const DOCKERFILE: &str = "FROM scratch\nCOPY --chmod=755 busybox /bin/sh\nCOPY data /data\n\
    RUN [\"/bin/sh\", \"-c\", \"cat /data/* > /all\"]\n";

struct Few {
    user: Option<User>,
    registry: Registry,
    limit: ProcessLimit,
    scratch: Scratch,
    kiln: PathBuf,
    /// Where the program lies.
    _place: Scratch,
}

impl Few {
    fn new(limit: ProcessLimit, user: Option<User>) -> Result<Self, Skip> {
        let (_place, kiln) = copy_for_everyone(program());
        let scratch = match &user {
            Some(user) => user.scratch(),
            None => Scratch::new(),
        };
        let few = Self {
            registry: Registry::start()?,
            user,
            limit,
            scratch,
            kiln,
            _place,
        };
        fs::copy(
            few.registry.registries_conf(),
            few.scratch.join("registries.conf"),
        )
        .unwrap();
        let data = few.scratch.join("context/data");
        fs::create_dir_all(&data).unwrap();
        fs::copy(busybox()?, few.scratch.join("context/busybox")).unwrap();
        fs::write(few.scratch.join("context/Dockerfile"), DOCKERFILE).unwrap();
        for number in 0..FILES {
            let path = data.join(format!("{number:03}"));
            fs::write(&path, format!("{number}\n").repeat(number)).unwrap();
        }
        // Large ones are hashed, copied and packed in other ways.
        fs::write(data.join("large"), vec![b'x'; 9 << 20]).unwrap();
        let open = Command::new("chmod")
            .args(["-R", "a+rX"])
            .arg(few.scratch.path())
            .status();
        assert!(open.unwrap().success());
        Ok(few)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = match &self.user {
            Some(user) => user.command(&self.kiln),
            None => Command::new(&self.kiln),
        };
        command
            .args(arguments)
            .env("KILN_ROOT", self.scratch.join("state"))
            .env(
                "CONTAINERS_REGISTRIES_CONF",
                self.scratch.join("registries.conf"),
            )
            .env("DOCKER_CONFIG", self.scratch.join("docker"))
            .current_dir(self.scratch.path());
        command
    }

    /// Builds without a limit, and checks what comes of it.
    fn build_right(&self, name: &str) {
        let build = ["build", "-q", "-t", name, "context"];
        succeeded(&build, self.command(&build).output().unwrap());
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
        succeeded(arguments, few.command(arguments).output().unwrap());
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
    let (verified, _) = succeeded(&verify, few.command(&verify).output().unwrap());
    assert!(verified.ends_with(": no damage\n"), "{verified}");
    assert_no_leftovers(few.scratch.path());
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
