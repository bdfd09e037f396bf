//! `kiln run` and what can be done with containers afterwards.

mod arguments; // flags of run
mod describe; // what inspect shows
mod end; // stop, kill, wait, rm
mod limits; // of memory and processors
mod list; // ps
mod logs; // what a container wrote
mod run; // create, start, stay or leave
mod start; // containers that ended
mod values; // environment and binds

use std::panic::resume_unwind;
use std::path::Path;
use std::process::Command;

use kiln_containers::{Container, ContainerError, Containers};

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
    kiln_containers::monitor::main(directory).map_err(failure)?;
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

/// Containers that something is done with at the same time; docker's client does as many.
const SIDE_BY_SIDE: usize = 50;

/// Does something with each container, side by side: one that takes its time to end must not use
/// up the time of the next. Prints their names in order as they were given, and goes on after
/// failures.
///
/// It has the containers only, not the engine: whatever it waits for, others may have the state
/// directory for themselves meanwhile.
fn each(
    containers: &Containers,
    names: &[String],
    act: impl Fn(&Containers, &str) -> Result<String, ContainerError> + Sync,
    is_forgiven: impl Fn(&ContainerError) -> bool,
) -> Outcome {
    let mut exit = Exit::SUCCESS;
    let mut tell = |result: Result<String, ContainerError>| {
        match result {
            Ok(line) => return terminal::print_line(&line),
            Err(error) if is_forgiven(&error) => {}
            Err(error) => {
                terminal::tell_line(&format!("Error: {}", failure(error).message));
                exit = Exit::FAILURE;
            }
        }
        Ok(())
    };
    if let [name] = names {
        tell(act(containers, name))?;
        return Ok(exit);
    }
    for group in names.chunks(SIDE_BY_SIDE) {
        std::thread::scope(|scope| {
            let act = &act;
            let started: Vec<_> = group
                .iter()
                .map(|name| {
                    let thread = std::thread::Builder::new();
                    (
                        name,
                        thread.spawn_scoped(scope, move || act(containers, name)),
                    )
                })
                .collect();
            for (name, thread) in started {
                tell(match thread {
                    Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
                    // No thread is to be had: then one after the other.
                    Err(_) => act(containers, name),
                })?;
            }
            Ok::<(), Failure>(())
        })?;
    }
    Ok(exit)
}
