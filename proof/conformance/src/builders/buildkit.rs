use std::path::Path;
use std::process::Command;
use std::thread::available_parallelism;

use kiln_testbed::{Dockerd, Registry};

use crate::builder::succeed;
use crate::{Builder, Error};

/// The BuildKit inside Docker's daemon.
#[derive(Debug)]
pub struct BuildKit(Dockerd);

impl BuildKit {
    /// Starts a daemon that has some images of the registry under their short names.
    ///
    /// # Errors
    ///
    /// What the machine lacks, or a pull that fails.
    pub fn new(registry: &Registry, images: &[String]) -> Result<Self, Error> {
        let docker = Dockerd::start()?;
        for image in images {
            // The daemon knows no other names for its registry, but takes any name for an image.
            let full_name = registry.image(&format!("library/{image}"));
            succeed(docker.command().args(["pull", "--quiet", &full_name]))?;
            succeed(docker.command().args(["tag", &full_name, image]))?;
        }
        Ok(Self(docker))
    }
}

impl Builder for BuildKit {
    fn name(&self) -> &'static str {
        "BuildKit"
    }

    fn jobs(&self) -> usize {
        available_parallelism().map_or(2, usize::from)
    }

    fn build(&self, case: &str, _archive: &Path) -> Command {
        let mut command = self.0.command();
        command
            .args(["build", "--progress", "plain", "--network", "host"])
            .args(["--tag", case]);
        command
    }

    fn save(&self, case: &str, archive: &Path) -> Option<Command> {
        let mut command = self.0.command();
        command.args(["save", "--output"]).arg(archive).arg(case);
        Some(command)
    }
}
