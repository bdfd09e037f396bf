use std::path::Path;
use std::process::Command;

use kiln_testbed::{Kiln, Registry, Scratch};

use super::{Builder, Export, ready};
use crate::area::Area;
use crate::error::Error;

pub(super) const NAME: &str = "kiln";

/// Pulls the base images into an empty state directory.
pub(super) fn prepare(
    program: &Path,
    registry: &Registry,
    area: &Area,
    images: &[&str],
) -> Result<Box<dyn Builder>, Error> {
    let program = program
        .canonicalize()
        .map_err(|error| Error::Lacking(format!("{}: {error}", program.display())))?;
    let directory = area.fresh("kiln")?;
    let scratch = Scratch::below(&directory).map_err(Error::at(&directory))?;
    let kiln = Kiln::in_scratch(&program, scratch);
    kiln.knows(registry);
    for image in images {
        ready(
            "kiln cannot pull a base image",
            kiln.command().args(["pull", image]),
        )?;
    }
    Ok(Box::new(kiln))
}

impl Builder for Kiln {
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

    fn export(&self, export: &Export<'_>) -> Option<Command> {
        let mut command = self.command();
        command
            .args(["build", "--progress", "plain", "--network", "host"])
            .arg("--output")
            .arg(format!(
                "type=oci,dest={},compression={}",
                export.archive.display(),
                export.compression.name()
            ))
            .arg(export.context);
        Some(command)
    }
}
