use std::path::Path;
use std::process::Command;
use std::thread::available_parallelism;

use kiln_testbed::Kiln;

use crate::Builder;

impl Builder for Kiln {
    fn name(&self) -> &'static str {
        "kiln"
    }

    fn jobs(&self) -> usize {
        available_parallelism().map_or(2, usize::from)
    }

    fn build(&self, _case: &str, archive: &Path) -> Command {
        let mut command = self.command();
        command
            .args(["build", "--progress", "plain", "--output"])
            .arg(format!("type=docker,dest={}", archive.display()));
        command
    }

    fn save(&self, _case: &str, _archive: &Path) -> Option<Command> {
        None
    }
}
