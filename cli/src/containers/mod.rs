//! `kiln run` and what can be done with containers afterwards.

mod arguments; // flags of run
mod describe; // what inspect shows
mod end; // stop, kill, wait, rm
mod list; // ps
mod logs; // what a container wrote
mod run; // create, start, stay or leave
mod start; // containers that ended
mod values; // environment and binds

use std::path::Path;
use std::process::Command;

use kiln_engine::Engine;
use kiln_runtime::containers::{self, Container, ContainerError, Containers};

pub(crate) use arguments::RunArguments;
pub(crate) use describe::describe;
pub(crate) use end::{
    KillArguments, RmArguments, StopArguments, WaitArguments, kill, rm, stop, wait,
};
pub(crate) use list::{PsArguments, ps};
pub(crate) use logs::{LogsArguments, logs, parse_time};
pub(crate) use run::run;
pub(crate) use start::{StartArguments, start};

use crate::failure::{Exit, Failure, Outcome};
use crate::{session, terminal};

/// The hidden command that stands beside a detached container.
pub(crate) const MONITOR: &str = "container-monitor";

/// Runs the monitor of a container.
pub(crate) fn monitor(directory: &Path) -> Outcome {
    session::enter()?;
    containers::monitor::main(directory).map_err(failure)?;
    Ok(Exit::SUCCESS)
}

/// Returns the command that starts the monitor of a container.
fn monitor_of(container: &Container) -> Command {
    let mut command = own_program();
    command.arg(MONITOR).arg(container.directory());
    command
}

/// Returns a command that starts this very program, even if its file was replaced or removed.
fn own_program() -> Command {
    Command::new("/proc/self/exe")
}

/// Turns a failure into words, causes included.
pub(crate) fn failure(error: ContainerError) -> Failure {
    let mut message = error.to_string();
    if let Some(cause) = std::error::Error::source(&error) {
        message.push_str(&format!(": {cause}"));
    }
    Failure::new(message)
}

/// Does something with each container, prints its name as it was given, and goes on after
/// failures.
fn each(
    engine: &Engine,
    names: &[String],
    act: impl Fn(&Containers, &str) -> Result<String, ContainerError>,
    is_forgiven: impl Fn(&ContainerError) -> bool,
) -> Outcome {
    let containers = engine.containers()?;
    let mut exit = Exit::SUCCESS;
    for name in names {
        match act(&containers, name) {
            Ok(line) => terminal::print_line(&line)?,
            Err(error) if is_forgiven(&error) => {}
            Err(error) => {
                terminal::tell_line(&format!("Error: {}", failure(error).message));
                exit = Exit::FAILURE;
            }
        }
    }
    Ok(exit)
}
