//! The process that stands beside a container.

use std::path::Path;
use std::process::Command;

use kiln_containers::{ContainerError, Monitor};

use super::failures::failure;
use crate::failure::{Exit, Outcome};
use crate::session;

/// The hidden command that stands beside a container.
pub(crate) const MONITOR: &str = "container-monitor";

/// Runs the monitor of a container.
pub(crate) fn monitor(directory: &Path) -> Outcome {
    session::enter()?;
    kiln_containers::monitor::main(directory).map_err(failure)?;
    Ok(Exit::SUCCESS)
}

/// Starts the monitor of a container that has this directory, or will have it.
pub(super) fn start_monitor(directory: &Path) -> Result<Monitor, ContainerError> {
    let mut command = own_program();
    command.arg(MONITOR).arg(directory);
    Monitor::start(command)
}

/// Returns a command that starts this very program, even if its file was replaced or removed.
pub(super) fn own_program() -> Command {
    Command::new("/proc/self/exe")
}
