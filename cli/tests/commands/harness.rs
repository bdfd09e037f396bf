//! A kiln with a state directory and an environment of its own.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use kiln_testbed::{Registry, Scratch, Skip, busybox};
use regex::Regex;

/// A kiln and its state.
pub(crate) struct Kiln {
    pub(crate) scratch: Scratch,
}

/// What a command came to, as text.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Kiln {
    /// Starts with an empty state directory.
    pub(crate) fn new() -> Self {
        Self {
            scratch: Scratch::new(),
        }
    }

    /// As [`Kiln::new`], where builds are possible: a static busybox is in the context `ctx`.
    pub(crate) fn for_builds() -> Result<Self, Skip> {
        let kiln = Self::new();
        let namespaces = kiln.ok(&["info", "--format", "{{.Namespaces}}"]);
        if namespaces.starts_with("none") {
            return Err(Skip::because("no user namespaces"));
        }
        let context = kiln.scratch.join("ctx");
        fs::create_dir(&context).unwrap();
        fs::copy(busybox()?, context.join("busybox")).unwrap();
        Ok(kiln)
    }

    /// Returns a command in the scratch directory, with nothing in its environment that is not
    /// the test's.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("HOME", self.scratch.path())
            .env("KILN_ROOT", self.scratch.join("state"))
            .env(
                "CONTAINERS_REGISTRIES_CONF",
                self.scratch.join("registries.conf"),
            )
            .current_dir(self.scratch.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs kiln.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        Ended::from(self.command().args(arguments).output().unwrap())
    }

    /// Runs kiln with something on standard input.
    pub(crate) fn run_with(&self, input: impl AsRef<[u8]>, arguments: &[&str]) -> Ended {
        let mut child = self
            .command()
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.as_ref().to_vec();
        // It need not read all of it: what is refused for its flags is refused before.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        Ended::from(output)
    }

    /// Runs kiln, which must succeed, and returns its standard output less the final line end.
    #[track_caller]
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert_eq!(ended.code, 0, "{arguments:?}: {ended:#?}");
        ended.stdout.trim_end_matches('\n').to_owned()
    }

    /// Tells the kiln that a registry speaks plain HTTP.
    pub(crate) fn knows(&self, registry: &Registry) {
        let conf = fs::read_to_string(registry.registries_conf()).unwrap();
        self.write("registries.conf", &conf);
    }

    /// Writes a Dockerfile into the context `ctx`.
    pub(crate) fn dockerfile(&self, text: &str) {
        self.write("ctx/Dockerfile", text);
    }

    /// Writes a file of the scratch directory.
    pub(crate) fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.scratch.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// Builds an image with a shell and the given further instructions.
    #[track_caller]
    pub(crate) fn build_shell(&self, name: &str, further: &str) {
        self.dockerfile(&format!(
            "FROM scratch\nCOPY busybox /bin/busybox\nCOPY busybox /bin/sh\n{further}\n"
        ));
        self.ok(&["build", "-t", name, "ctx"]);
    }

    /// Replaces what differs from run to run.
    pub(crate) fn filter(&self, text: &str) -> String {
        let mut text = text.replace(&self.scratch.path().display().to_string(), "[DIR]");
        for (pattern, name) in [
            (r"sha256:[0-9a-f]{64}", "[DIGEST]"),
            (r"\b\d+\.\d{3}\b", "[TIME]"),
            (r"\b\d+\.\ds\b", "[TIME]"),
            (r"\b\d+(\.\d+)?[kMG]B\b", "[SIZE]"),
        ] {
            let pattern = Regex::new(pattern).unwrap();
            text = pattern.replace_all(&text, name).into_owned();
        }
        text
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Returns the names of the files below a directory, sorted.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Asks a kiln to stop, as Ctrl-C does.
pub(crate) fn interrupt(child: &Child) {
    let id = child.id().to_string();
    let sent = Command::new("kill").args(["-INT", &id]).status().unwrap();
    assert!(sent.success());
}
