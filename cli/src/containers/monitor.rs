//! The process that stands beside a container.

use std::path::Path;
use std::process::Command;

use kiln_containers::Container;

use super::failures::failure;
use crate::failure::{Exit, Outcome};
use crate::session;

/// The hidden command that stands beside a detached container.
pub(crate) const MONITOR: &str = "container-monitor";

/// Runs the monitor of a container.
pub(crate) fn monitor(directory: &Path) -> Outcome {
    session::enter()?;
    kiln_containers::monitor::main(directory).map_err(failure)?;
    Ok(Exit::SUCCESS)
}

/// Returns the command that starts the monitor of a container.
pub(super) fn monitor_of(container: &Container) -> Command {
    let mut command = own_program();
    command.arg(MONITOR).arg(container.directory());
    command
}

/// Returns a command that starts this very program, even if its file was replaced or removed.
pub(super) fn own_program() -> Command {
    Command::new("/proc/self/exe")
}
