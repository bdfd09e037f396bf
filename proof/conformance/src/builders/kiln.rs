use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::available_parallelism;

use kiln_testbed::{Registry, Scratch};

use crate::Builder;

/// kiln with a state directory of its own.
#[derive(Debug)]
pub struct Kiln {
    program: PathBuf,
    settings: PathBuf,
    scratch: Scratch,
}

impl Kiln {
    /// Binds a kiln program to an empty state directory. Names without a host come from the
    /// registry.
    pub fn new(program: &Path, registry: &Registry) -> Self {
        Self {
            program: program.to_owned(),
            settings: registry.registries_conf(),
            scratch: Scratch::new(),
        }
    }

    /// Returns a kiln command without arguments, and with no more of the environment than
    /// programs need to be found.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("HOME", self.scratch.path())
            .env("KILN_ROOT", self.scratch.join("state"))
            .env("CONTAINERS_REGISTRIES_CONF", &self.settings);
        command
    }
}

impl Builder for Kiln {
    fn name(&self) -> &'static str {
        "kiln"
    }

    fn jobs(&self) -> usize {
        available_parallelism().map_or(2, usize::from)
    }

    fn build(&self, _case: &str, archive: &Path) -> Command {
        let mut command = self.command();
        command
            .args(["build", "--progress", "plain", "--output"])
            .arg(format!("type=docker,dest={}", archive.display()));
        command
    }

    fn save(&self, _case: &str, _archive: &Path) -> Option<Command> {
        None
    }
}
