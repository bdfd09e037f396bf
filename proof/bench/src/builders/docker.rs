use std::path::Path;
use std::process::Command;

use kiln_testbed::{Dockerd, Leftover, Registry, leftovers};

use super::{Builder, ready};
use crate::error::Error;

pub(super) const NAME: &str = "docker";

/// Starts a daemon and pulls the base images into its store.
pub(super) fn prepare(registry: &Registry, images: &[&str]) -> Result<Box<dyn Builder>, Error> {
    let docker = Dockerd::start()?;
    // The daemon knows no other names for its registry, but takes any name for an image.
    for image in images {
        let full_name = registry.image(&format!("library/{image}"));
        ready(
            "docker cannot pull a base image",
            docker.command().args(["pull", "--quiet", &full_name]),
        )?;
        ready(
            "docker cannot name a base image",
            docker.command().args(["tag", &full_name, image]),
        )?;
    }
    Ok(Box::new(docker))
}

/// Its BuildKit, which the test bed's commands select. That of Docker 20.10 writes no OCI archives.
impl Builder for Dockerd {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> Command {
        let mut command = self.command();
        command.arg("--version");
        command
    }

    fn daemons(&self) -> Vec<u32> {
        // dockerd and its containerd name files in the directory.
        leftovers(&self.directory())
            .into_iter()
            .filter_map(|leftover| match leftover {
                Leftover::Process { id, .. } => Some(id),
                Leftover::Mount(_) => None,
            })
            .collect()
    }

    fn build(&self, tag: &str, context: &Path) -> Option<Command> {
        let mut command = self.command();
        command
            .args(["build", "--progress", "plain", "--network", "host"])
            .args(["--tag", tag])
            .arg(context);
        Some(command)
    }

    fn push(&self, tag: &str) -> Option<Command> {
        let mut command = self.command();
        command.args(["push", tag]);
        Some(command)
    }

    fn run(&self, image: &str, arguments: &[&str]) -> Option<Command> {
        let mut command = self.command();
        command
            .args(["run", "--rm", "--network", "host", image])
            .args(arguments);
        Some(command)
    }
}
