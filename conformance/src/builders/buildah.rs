use std::path::Path;
use std::process::Command;

use kiln_testbed::Registry;

use crate::{Builder, Error};

/// buildah with a store of its own.
#[derive(Debug)]
pub struct Buildah(kiln_testbed::Buildah);

impl Buildah {
    /// Makes an empty store. Names without a host come from the registry.
    ///
    /// # Errors
    ///
    /// What the machine lacks.
    pub fn new(registry: &Registry) -> Result<Self, Error> {
        Ok(Self(kiln_testbed::Buildah::new(Some(registry))?))
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
