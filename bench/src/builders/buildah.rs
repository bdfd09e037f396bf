use std::path::Path;
use std::process::Command;

use kiln_testbed::{Buildah, Registry};

use super::{Builder, ready};
use crate::base;
use crate::error::Error;

pub(super) const NAME: &str = "buildah";

/// Pulls the base image into an empty store.
pub(super) fn prepare(registry: &Registry) -> Result<Box<dyn Builder>, Error> {
    let buildah = Buildah::new(Some(registry))?;
    ready(
        "buildah cannot pull the base image",
        buildah.command().args(["pull", base::NAME]),
    )?;
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

    fn build(&self, tag: &str, context: &Path) -> Command {
        let mut command = self.command();
        command
            .args(["bud", "--layers", "--network", "host"])
            // As many stages at once as there are, which the others do unasked.
            .args(["--jobs", "0"])
            .args(["--tag", tag])
            .arg(context);
        command
    }

    fn push(&self, tag: &str) -> Command {
        let mut command = self.command();
        command.args(["push", "--tls-verify=false", tag]);
        command
    }
}
