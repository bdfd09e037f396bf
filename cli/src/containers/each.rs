//! Commands that take several containers.

use std::panic::resume_unwind;

use kiln_containers::{Container, ContainerError, Containers};

use super::failures::failure;
use crate::failure::{Exit, Failure, Outcome};
use crate::terminal;

/// Containers that something is done with at the same time; docker's client does as many.
const SIDE_BY_SIDE: usize = 50;

/// Does something with each container that names lead to now, side by side: one that takes its time
/// to end must not use up the time of the next. Prints their names in order as they were given, and
/// goes on after failures.
///
/// It has the containers only, not the engine: while it waits, others may have the state
/// directory for themselves meanwhile.
pub(super) fn each(
    containers: &Containers,
    names: &[String],
    act: impl Fn(&Container, &str) -> Result<String, ContainerError> + Sync,
    is_forgiven: impl Fn(&ContainerError) -> bool,
) -> Outcome {
    let index = containers.index().map_err(failure)?;
    let act = |name: &str| act(&index.find(name)?, name);
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
        tell(act(name))?;
        return Ok(exit);
    }
    for group in names.chunks(SIDE_BY_SIDE) {
        std::thread::scope(|scope| {
            let act = &act;
            let started: Vec<_> = group
                .iter()
                .map(|name| {
                    let thread = std::thread::Builder::new();
                    (name, thread.spawn_scoped(scope, move || act(name)))
                })
                .collect();
            for (name, thread) in started {
                tell(match thread {
                    Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
                    // Where no thread can be started, one container after the other.
                    Err(_) => act(name),
                })?;
            }
            Ok::<(), Failure>(())
        })?;
    }
    Ok(exit)
}
