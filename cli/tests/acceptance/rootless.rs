//! Without root: a user with a range of subordinate ids.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use kiln_testbed::{Bases, Ended, Kiln, Registry, Skip, assert_no_leftovers, need, ordinary_user};

use crate::acceptance::harness::testdata;
use crate::program;

/// A kiln that an ordinary user runs, with base images to pull.
struct Rootless {
    kiln: Kiln,
    registry: Registry,
}

impl Rootless {
    fn with_bases(bases: &[&str]) -> Result<Self, Skip> {
        let user = ordinary_user()?;
        let registry = Bases::by(program()).serve(bases)?;
        let kiln = Kiln::of_user(program(), user);
        kiln.knows(&registry);
        Ok(Self { kiln, registry })
    }

    /// Runs kiln on the named state directory and returns standard output.
    #[track_caller]
    fn run(&self, state: &str, arguments: &[&str]) -> String {
        let mut command = self.kiln.command_on(&self.kiln.scratch.join(state));
        let ended = Ended::of(command.args(arguments));
        ended.succeeded(arguments).stdout
    }

    /// Gives what was written to the user.
    fn own(&self, path: &Path) {
        self.kiln.user().unwrap().own(path);
    }
}

/// It said "Permission denied (os error 13)" and no more.
#[test]
fn limits_that_cannot_be_kept_are_explained() {
    let rootless = need!(Rootless::with_bases(&["busybox"]));
    rootless.run("state", &["pull", "-q", "busybox"]);
    let info = rootless.run("state", &["info"]);
    let run = ["run", "--rm", "--memory=64m", "busybox", "true"];
    let Ended { code, stderr, .. } = rootless.kiln.run(&run);
    if info.contains("Limits: nothing can be limited") {
        let hint = info.lines().find_map(|line| line.strip_prefix("hint: "));
        let hint = hint.expect("it says what to do");
        assert_eq!(stderr, format!("kiln: {hint}\n"));
        assert!(
            hint.starts_with("cannot limit memory: ") && !hint.contains("os error"),
            "{hint}"
        );
    } else {
        assert_eq!((code, stderr.as_str()), (0, ""));
    }
}

#[test]
fn an_ordinary_user_builds_pushes_pulls_and_runs() {
    let rootless = need!(Rootless::with_bases(&["busybox"]));
    let context = rootless.kiln.scratch.join("context");
    fs::create_dir(&context).unwrap();
    fs::write(
        context.join("Dockerfile"),
        "FROM busybox\nRUN id -u && touch /root-owned && touch /other && chown 1234:99 /other\n\
         COPY --chown=33:33 Dockerfile /copied\nUSER 1234\nWORKDIR /home/me\n\
         RUN test $(id -u) = 1234 && touch here\nCMD [\"ls\", \"-ln\", \"/other\", \"/copied\"]\n",
    )
    .unwrap();
    for path in [&context, &context.join("Dockerfile")] {
        rootless.own(path);
    }
    let name = rootless.registry.image("rootless/app:v1");
    let context = context.to_str().unwrap();
    rootless.run("state", &["build", "-t", &name, "--push", context]);
    rootless.run("state", &["build", "-t", &name, context]);
    for state in ["state", "elsewhere"] {
        rootless.run(state, &["pull", &name]);
        let listing = rootless.run(state, &["run", "--rm", &name]);
        let owners: Vec<&str> = listing
            .lines()
            .filter_map(|line| line.split_whitespace().nth(2))
            .collect();
        assert_eq!(owners, ["33", "1234"], "{listing}");
        assert_no_leftovers(&rootless.kiln.scratch.join(state));
    }
}

#[test]
fn an_ordinary_user_serves_a_page_from_real_packages() {
    let rootless = need!(Rootless::with_bases(&["node"]));
    let app = rootless.kiln.scratch.join("app");
    let copied = Command::new("cp")
        .arg("-r")
        .arg(testdata("node-app"))
        .arg(&app)
        .status();
    assert!(copied.unwrap().success());
    rootless.run("state", &["build", "-t", "app", app.to_str().unwrap()]);
    // Free a moment ago; no other test asks for ports that others might get.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let variable = format!("PORT={port}");
    let id = rootless.run(
        "state",
        &[
            "run",
            "-d",
            "--name",
            "web",
            "--network",
            "host",
            "-e",
            &variable,
            "app",
        ],
    );
    assert_eq!(id.trim_end().len(), 64, "{id}");
    let page = fetch(port);
    assert!(page.contains("200 OK") && page.contains("kiln"), "{page}");
    let listed = rootless.run("state", &["ps"]);
    assert!(listed.contains("web") && listed.contains("Up "), "{listed}");
    rootless.run("state", &["stop", "-t", "2", "web"]);
    rootless.run("state", &["rm", "web"]);
    assert_no_leftovers(&rootless.kiln.scratch.join("state"));
    assert!(is_empty(&rootless.kiln.scratch.join("state/containers")));
}

#[test]
fn an_ordinary_user_cleans_up_files_of_every_owner() {
    let rootless = need!(Rootless::with_bases(&["busybox"]));
    let context = rootless.kiln.scratch.join("context");
    fs::create_dir(&context).unwrap();
    let dockerfile = context.join("Dockerfile");
    let text = "FROM busybox\nRUN mkdir -m 0 /closed && chown 1234:99 /closed && touch /x\n";
    fs::write(&dockerfile, text).unwrap();
    for path in [&context, &dockerfile] {
        rootless.own(path);
    }
    let build = ["build", "-t", "app", context.to_str().unwrap()];
    rootless.run("state", &build);
    let listed = rootless.run("state", &["cache", "du"]);
    assert!(listed.contains("Shared:"), "{listed}");
    let whole = rootless.run("state", &["cache", "verify"]);
    assert!(whole.ends_with(": no damage\n"), "{whole}");
    rootless.run("state", &["rmi", "app"]);
    rootless.run("state", &["system", "prune", "--all", "--force"]);
    let state = rootless.kiln.scratch.join("state");
    let left = |directory: &str| {
        let groups = fs::read_dir(state.join(directory)).into_iter().flatten();
        let entries = groups.flat_map(|group| fs::read_dir(group.unwrap().path()).unwrap());
        entries.count()
    };
    // The empty layer may stay.
    assert!(left("layers") <= 1 && left("blobs/sha256") == 0 && left("actions") == 0);
    assert_eq!(fs::read_dir(state.join("trash")).unwrap().count(), 0);
    rootless.run("state", &build);
    rootless.run("state", &["run", "--rm", "app", "ls", "/x"]);
    assert_no_leftovers(&state);
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory)
        .unwrap()
        .all(|entry| !entry.unwrap().file_type().unwrap().is_dir())
}

/// Asks for `/` until a server answers.
fn fetch(port: u16) -> String {
    for _ in 0..600 {
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
            let request = "GET / HTTP/1.0\r\nHost: localhost\r\n\r\n";
            let mut answer = String::new();
            if stream.write_all(request.as_bytes()).is_ok()
                && stream.read_to_string(&mut answer).is_ok()
            {
                return answer;
            }
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("no server answers on port {port}");
}
