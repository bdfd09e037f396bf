//! A kiln with a state directory of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kiln_testbed::{Bases, Registry, Scratch, Skip};

/// The program under test.
pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_kiln"))
}

/// A directory of `testdata`.
pub(crate) fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../testdata")
        .join(name)
}

/// A kiln, its state, and a registry with base images.
pub(crate) struct Kiln {
    pub(crate) scratch: Scratch,
    registry: Registry,
}

impl Kiln {
    /// Serves the named bases and starts with an empty state directory.
    pub(crate) fn with_bases(bases: &[&str]) -> Result<Self, Skip> {
        Ok(Self {
            registry: Bases::by(program()).serve(bases)?,
            scratch: Scratch::new(),
        })
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Returns a kiln command without arguments, bound to this state and registry.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(program());
        command
            .env("KILN_ROOT", self.root())
            .env(
                "CONTAINERS_REGISTRIES_CONF",
                self.registry.registries_conf(),
            )
            .env("DOCKER_CONFIG", self.scratch.join("docker"))
            .env_remove("SOURCE_DATE_EPOCH");
        command
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.scratch.join("state")
    }

    /// Runs kiln with these arguments and returns standard output and standard error.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> (String, String) {
        let output = self.command().args(arguments).output().unwrap();
        succeeded(arguments, output)
    }

    /// Builds with plain progress and returns what was printed.
    #[track_caller]
    pub(crate) fn build(&self, context: &Path, arguments: &[&str]) -> String {
        let mut command = self.command();
        command
            .args(["build", "--progress", "plain"])
            .args(arguments);
        let output = command.arg(context).output().unwrap();
        succeeded(arguments, output).1
    }

    /// Copies a context, so that it can be changed.
    pub(crate) fn copy_of(&self, context: &Path, name: &str) -> PathBuf {
        let copy = self.scratch.join(name);
        let status = Command::new("cp")
            .args(["-a", "--"])
            .arg(context)
            .arg(&copy)
            .status()
            .unwrap();
        assert!(status.success());
        copy
    }

    /// Writes a context out of file names and contents.
    pub(crate) fn context(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let directory = self.scratch.join(name);
        for (file, content) in files {
            let path = directory.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        directory
    }
}

/// Returns standard output and standard error of a command that succeeded.
#[track_caller]
pub(crate) fn succeeded(what: &[&str], output: Output) -> (String, String) {
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success(),
        "kiln {what:?}: {}\n{stdout}\n{stderr}",
        output.status
    );
    (stdout, stderr)
}

/// Says whether the step whose name ends in `name` was taken from the cache, according to plain
/// progress.
#[track_caller]
pub(crate) fn is_cached(progress: &str, name: &str) -> bool {
    let number = progress
        .lines()
        .find(|line| line.ends_with(name))
        .and_then(|line| line.split(' ').next())
        .unwrap_or_else(|| panic!("no step {name:?} in\n{progress}"));
    progress
        .lines()
        .any(|line| line.strip_prefix(number) == Some(" CACHED"))
}
