use std::path::Path;
use std::process::Command;

use kiln_testbed::Registry;

use crate::builder::succeed;
use crate::{Builder, Error};

/// buildah with a store of its own.
#[derive(Debug)]
pub struct Buildah(kiln_testbed::Buildah);

impl Buildah {
    /// Makes a store that has some images of the registry under their short names.
    ///
    /// # Errors
    ///
    /// What the machine lacks, or a pull that fails.
    pub fn new(registry: &Registry, images: &[String]) -> Result<Self, Error> {
        let buildah = kiln_testbed::Buildah::new(Some(registry))?;
        for image in images {
            // It knows no registry for names without a host that are not famous.
            let full_name = registry.image(&format!("library/{image}"));
            succeed(
                buildah
                    .command()
                    .args(["pull", "--quiet", "--tls-verify=false", &full_name]),
            )?;
            succeed(buildah.command().args(["tag", &full_name, image]))?;
        }
        Ok(Self(buildah))
    }
}

impl Builder for Buildah {
    fn name(&self) -> &'static str {
        "buildah"
    }

    fn jobs(&self) -> usize {
        // Its store does not stand several builds at once.
        1
    }

    fn build(&self, case: &str, _archive: &Path) -> Command {
        let mut command = self.0.command();
        command
            // Docker's format alone carries HEALTHCHECK, SHELL and ONBUILD.
            .args(["bud", "--format", "docker", "--network", "host"])
            .args(["--layers", "--tls-verify=false", "--http-proxy=false"])
            .args(["--tag", case]);
        command
    }

    fn save(&self, case: &str, archive: &Path) -> Option<Command> {
        let mut command = self.0.command();
        command
            .args(["push", "--quiet", case])
            .arg(format!("docker-archive:{}", archive.display()));
        Some(command)
    }
}
