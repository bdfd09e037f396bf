//! `kiln start`.

use clap::Args;
use kiln_containers::ContainerError;
use kiln_engine::verbs;

use super::failures::failure;
use super::monitor::start_monitor;
use crate::environment::Environment;
use crate::failure::{Exit, Failure, Outcome};
use crate::{session, terminal};

/// Start one or more stopped containers.
#[derive(Args, Debug)]
#[command(override_usage = "kiln start CONTAINER [CONTAINER...]")]
pub(crate) struct StartArguments {
    /// Names or ids
    #[arg(value_name = "CONTAINER", required = true, num_args = 1..)]
    containers: Vec<String>,
}

/// Starts containers in the background.
pub(crate) fn start(arguments: &StartArguments, environment: &Environment) -> Outcome {
    let containers = verbs::containers(&session::enter_and_open(environment)?.stores)?;
    let containers = containers.index().map_err(failure)?;
    let start = |name: &str| -> Result<(), Failure> {
        let container = containers.find(name).map_err(failure)?;
        verbs::renew_resolvers(&container);
        let monitor = start_monitor(container.directory()).map_err(failure)?;
        match container.start_detached(monitor) {
            // It runs, which is what was asked for.
            Err(ContainerError::AlreadyRunning(_)) => Ok(()),
            Err(error) => Err(failure(error)),
            Ok(state) => match state.error {
                Some(error) => Err(Failure::new(error)),
                None => Ok(()),
            },
        }
    };
    let mut exit = Exit::SUCCESS;
    for name in &arguments.containers {
        match start(name) {
            Ok(()) => terminal::print_line(name)?,
            Err(failure) => {
                terminal::tell_line(&format!("Error: {}", failure.message));
                exit = Exit::FAILURE;
            }
        }
    }
    Ok(exit)
}
