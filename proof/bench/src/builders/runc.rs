use std::process::Command;

use kiln_testbed::Tool;

use super::Builder;
use crate::error::Error;

pub(super) const NAME: &str = "runc";

/// The runtime below most of the others, compared by its start alone: it has no images.
#[derive(Debug)]
struct Runc(Tool);

/// Finds the program.
pub(super) fn prepare() -> Result<Box<dyn Builder>, Error> {
    Ok(Box::new(Runc(Tool::find(NAME)?)))
}

impl Builder for Runc {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> Command {
        let mut command = self.0.command();
        command.arg("--version");
        command
    }
}
