use std::path::Path;
use std::process::Command;

use kiln_testbed::{Dockerd, Leftover, Registry, leftovers};

use super::{Builder, ready};
use crate::base;
use crate::error::Error;

pub(super) const NAME: &str = "docker";

/// Starts a daemon and pulls the base image into its store.
pub(super) fn prepare(registry: &Registry) -> Result<Box<dyn Builder>, Error> {
    let docker = Dockerd::start()?;
    // The daemon knows no other names for its registry, but takes any name for an image.
    let full_name = registry.image(&format!("library/{}", base::NAME));
    ready(
        "docker cannot pull the base image",
        docker.command().args(["pull", &full_name]),
    )?;
    ready(
        "docker cannot name the base image",
        docker.command().args(["tag", &full_name, base::NAME]),
    )?;
    Ok(Box::new(docker))
}

/// Its BuildKit, which the test bed's commands select.
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

    fn build(&self, tag: &str, context: &Path) -> Command {
        let mut command = self.command();
        command
            .args(["build", "--progress", "plain", "--network", "host"])
            .args(["--tag", tag])
            .arg(context);
        command
    }

    fn push(&self, tag: &str) -> Command {
        let mut command = self.command();
        command.args(["push", tag]);
        command
    }
}
