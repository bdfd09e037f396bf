//! `kiln stop`, `kiln kill`, `kiln wait` and `kiln rm`.

use std::time::Duration;

use clap::Args;
use kiln_containers::{Container, ContainerError, Force, SignalNumber, StopPatience};
use kiln_engine::verbs;

use super::each::each;
use crate::environment::Environment;
use crate::failure::{Failure, Outcome};
use crate::session;

/// Stop one or more running containers.
#[derive(Args, Debug)]
#[command(override_usage = "kiln stop [OPTIONS] CONTAINER [CONTAINER...]")]
pub(crate) struct StopArguments {
    /// Names or ids
    #[arg(value_name = "CONTAINER", required = true, num_args = 1..)]
    containers: Vec<String>,
    /// Signal to send (default: the container's own)
    #[arg(short, long, value_name = "SIGNAL")]
    signal: Option<String>,
    /// Seconds to wait before killing, -1 for ever (default: the container's own)
    #[arg(
        short,
        long = "timeout",
        alias = "time",
        value_name = "SECONDS",
        allow_hyphen_values = true
    )]
    timeout: Option<i64>,
}

/// Asks containers to end, and kills them if they do not.
pub(crate) fn stop(arguments: &StopArguments, environment: &Environment) -> Outcome {
    let signal = arguments.signal.as_deref().map(parse_signal).transpose()?;
    let containers = verbs::containers(&session::open(environment)?.stores)?;
    let stop = |container: &Container, name: &str| {
        let spec = container.spec()?;
        let patience = match arguments.timeout {
            None => StopPatience::For(spec.stop_timeout()),
            Some(seconds) => u64::try_from(seconds).map_or(StopPatience::Forever, |s| {
                StopPatience::For(Duration::from_secs(s))
            }),
        };
        container.stop(signal.unwrap_or(spec.stop_signal()), patience)?;
        Ok(name.to_owned())
    };
    each(&containers, &arguments.containers, stop, |_| false)
}

/// Kill one or more running containers.
#[derive(Args, Debug)]
#[command(override_usage = "kiln kill [OPTIONS] CONTAINER [CONTAINER...]")]
pub(crate) struct KillArguments {
    /// Names or ids
    #[arg(value_name = "CONTAINER", required = true, num_args = 1..)]
    containers: Vec<String>,
    /// Signal to send
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    signal: String,
}

/// Sends a signal to containers.
pub(crate) fn kill(arguments: &KillArguments, environment: &Environment) -> Outcome {
    let signal = parse_signal(&arguments.signal)?;
    let containers = verbs::containers(&session::open(environment)?.stores)?;
    let kill = |container: &Container, name: &str| {
        container.kill(signal)?;
        Ok(name.to_owned())
    };
    each(&containers, &arguments.containers, kill, |_| false)
}

fn parse_signal(text: &str) -> Result<SignalNumber, Failure> {
    text.parse()
        .map_err(|error| Failure::flag(format!("{error}")))
}

/// Wait until containers stop, then print their exit codes.
#[derive(Args, Debug)]
#[command(override_usage = "kiln wait CONTAINER [CONTAINER...]")]
pub(crate) struct WaitArguments {
    /// Names or ids
    #[arg(value_name = "CONTAINER", required = true, num_args = 1..)]
    containers: Vec<String>,
}

/// Waits for containers to end.
pub(crate) fn wait(arguments: &WaitArguments, environment: &Environment) -> Outcome {
    let containers = verbs::containers(&session::open(environment)?.stores)?;
    let wait = |container: &Container, _: &str| {
        let state = container.wait()?;
        Ok(state.exit_code.to_string())
    };
    each(&containers, &arguments.containers, wait, |_| false)
}

/// Remove one or more containers.
#[derive(Args, Debug)]
#[command(override_usage = "kiln rm [OPTIONS] CONTAINER [CONTAINER...]")]
pub(crate) struct RmArguments {
    /// Names or ids
    #[arg(value_name = "CONTAINER", required = true, num_args = 1..)]
    containers: Vec<String>,
    /// Kill running containers first, and do not mind missing ones
    #[arg(short, long)]
    force: bool,
    /// Accepted; what an image declares as volumes goes with the container anyway
    #[arg(short, long, hide = true)]
    volumes: bool,
}

/// Removes containers.
pub(crate) fn rm(arguments: &RmArguments, environment: &Environment) -> Outcome {
    let force = if arguments.force {
        Force::Kill
    } else {
        Force::No
    };
    // What containers wrote may belong to any of their users.
    let containers = verbs::containers(&session::enter_and_open(environment)?.stores)?;
    let remove = |container: &Container, name: &str| {
        container.remove(force)?;
        Ok(name.to_owned())
    };
    let is_forgiven =
        |error: &ContainerError| arguments.force && matches!(error, ContainerError::NotFound(_));
    each(&containers, &arguments.containers, remove, is_forgiven)
}
