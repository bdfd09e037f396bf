use std::path::Path;
use std::process::Command;

use kiln_testbed::{Buildah, Registry};

use super::{Builder, Export, ready};
use crate::error::Error;

pub(super) const NAME: &str = "buildah";

/// Pulls the base images into an empty store.
pub(super) fn prepare(registry: &Registry, images: &[&str]) -> Result<Box<dyn Builder>, Error> {
    let buildah = Buildah::new(Some(registry))?;
    for image in images {
        ready(
            "buildah cannot pull a base image",
            buildah.command().args(["pull", "--quiet", image]),
        )?;
    }
    Ok(Box::new(buildah))
}

impl Builder for Buildah {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> Command {
        let mut command = self.command();
        command.arg("--version");
        command
    }

    fn build(&self, tag: &str, context: &Path) -> Option<Command> {
        let mut command = self.command();
        command
            .args(["bud", "--layers", "--network", "host"])
            // As many stages at once as there are, which the others do unasked.
            .args(["--jobs", "0"])
            .args(["--tag", tag])
            .arg(context);
        Some(command)
    }

    fn push(&self, tag: &str) -> Option<Command> {
        let mut command = self.command();
        command.args(["push", "--tls-verify=false", tag]);
        Some(command)
    }

    fn export(&self, export: &Export<'_>) -> Option<Command> {
        let mut command = self.command();
        command
            .args(["push", "--quiet", "--format", "oci"])
            .args(["--compression-format", export.compression.name()])
            .arg(export.tag)
            .arg(format!("oci-archive:{}:latest", export.archive.display()));
        Some(command)
    }
}
