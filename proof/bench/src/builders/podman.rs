use std::process::Command;

use kiln_testbed::{Podman, Registry};

use super::{Builder, ready};
use crate::base::BUSYBOX;
use crate::error::Error;

pub(super) const NAME: &str = "podman";

/// Pulls busybox into an empty store.
pub(super) fn prepare(registry: &Registry) -> Result<Box<dyn Builder>, Error> {
    let podman = Podman::new(Some(registry))?;
    ready(
        "podman cannot pull the base image",
        podman.command().args(["pull", "--quiet", BUSYBOX]),
    )?;
    Ok(Box::new(podman))
}

/// Only its containers: its builds are those of buildah.
impl Builder for Podman {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> Command {
        let mut command = self.command();
        command.arg("--version");
        command
    }

    fn run(&self, image: &str, arguments: &[&str]) -> Option<Command> {
        let mut command = self.command();
        command
            .args(["run", "--rm", "--network", "host", image])
            .args(arguments);
        Some(command)
    }
}
