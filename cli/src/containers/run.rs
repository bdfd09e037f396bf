//! `kiln run`: find the image, make the container, start it, and stay with it or leave.
//!
//! Signals to a foreground container have to be taken before this process has a second thread.
//! So an image that is missing is pulled by a process of its own.

use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::Duration;

use kiln_containers::{
    Attachment, Attended, Container, ContainerId, Departure, HeldContainer, Monitor, RawTerminal,
    Removal, SignalNumber, Signals, StoredState,
};
use kiln_docker::units::parse_size;
use kiln_engine::{Error, RunRequest, verbs};
use kiln_runtime::{
    DEFAULT_SHM_SIZE_BYTES, JobNetwork, Stream, Streams, UnknownNetwork, WindowSize,
};

use super::arguments::{PullPolicy, RunArguments};
use super::describe::platform_of;
use super::failures::failure;
use super::monitor::{own_program, start_monitor};
use super::words::lost_lines;
use super::{limits, values};
use crate::builds::{parse_extra_host, parse_ulimit, split_pair};
use crate::environment::Environment;
use crate::failure::{Exit, Failure, Outcome};
use crate::progress::Unpacking;
use crate::session::Session;
use crate::terminal::{Onward, Ownership};
use crate::{platforms, session, terminal};

/// Docker's.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// The size of a container's terminal where kiln has none itself.
const UNSEEN: WindowSize = WindowSize {
    rows: 24,
    columns: 80,
};

/// How a command came to its end.
enum Ended {
    /// Before there was a container.
    Alone(Exit),
    /// With a container that runs on.
    Leaving(Container),
    /// With the container's end.
    With(Attended),
}

/// Runs a container.
pub(crate) fn run(arguments: &RunArguments, environment: &Environment) -> Outcome {
    // Scripts can tell by the status that the container's process was not started.
    let ended = start(arguments, environment).map_err(|failure| match failure.exit {
        Exit::FAILURE => failure.with_exit(Exit::BEFORE_START),
        _ => failure,
    })?;
    match ended {
        Ended::Alone(exit) => Ok(exit),
        Ended::Leaving(container) => {
            terminal::print_line(container.id().as_str())?;
            Ok(Exit::SUCCESS)
        }
        Ended::With(attended) => report(attended),
    }
}

fn start(arguments: &RunArguments, environment: &Environment) -> Result<Ended, Failure> {
    let request = request(arguments, environment)?;
    if let Some(path) = arguments.cidfile.as_ref().filter(|path| path.exists()) {
        return Err(Failure::new(format!(
            "container ID file found, make sure the other container isn't running or delete {}",
            path.display()
        )));
    }
    if let Some(exit) = pull_if_need_be(arguments, &request, environment)? {
        return Ok(Ended::Alone(exit));
    }
    session::enter_for_state(environment)?;
    if arguments.detach {
        let session = session::open_to_work(environment)?;
        let monitor = monitor_for(&request, &session)?;
        let made = create(arguments, &session, &request)?;
        drop(session);
        let container = made.container().clone();
        let state = made.start_detached(monitor).map_err(failure)?;
        if let Some(failure) = start_failure(&state) {
            return Err(failure);
        }
        return Ok(Ended::Leaving(container));
    }
    let signals = Signals::take()
        .map_err(|error| Failure::new(format!("cannot prepare for signals: {error}")))?;
    let session = session::open_to_work(environment)?;
    let monitor = monitor_for(&request, &session)?;
    let (over, until) = UnixStream::pair()
        .map_err(|error| Failure::new(format!("cannot prepare for signals: {error}")))?;
    let made = std::thread::scope(|scope| {
        let wait = || signals.end_by_them_until(&until);
        kiln_threads::spawn_or_fail(scope, wait)
            .map_err(|error| Failure::new(format!("cannot prepare for signals: {error}")))?;
        let created = create(arguments, &session, &request);
        drop(over);
        created
    })?;
    // What the container needs is marked by the container; others may have the state directory for
    // themselves while it runs.
    drop(session);
    attached(arguments, made, monitor, &signals).map(Ended::With)
}

/// Starts the monitor of a container that is to be made, which comes to itself meanwhile.
fn monitor_for(request: &RunRequest, session: &Session) -> Result<Monitor, Failure> {
    let directory = verbs::containers(&session.stores)?.directory_of(&request.id);
    start_monitor(&directory).map_err(failure)
}

/// Returns why a container's process did not start, if it did not.
fn start_failure(state: &StoredState) -> Option<Failure> {
    let exit = match state.exit_code {
        // The program is not there or cannot be executed.
        code @ (126 | 127) => Exit(code),
        _ => Exit::BEFORE_START,
    };
    let error = state.error.clone()?;
    Some(Failure::new(error).with_exit(exit))
}

/// Says what is to be said of a container that we stayed with, and returns its status.
fn report(attended: Attended) -> Outcome {
    let state = attended.state;
    if state.lost_log_lines > 0 {
        terminal::warn(&lost_lines(state.lost_log_lines));
    }
    if let Some(reason) = attended.unwritten {
        terminal::warn(&format!(
            "what became of the container is not written down: {reason}"
        ));
    }
    match attended.departure {
        // Docker's words and statuses for a client that leaves.
        Some(Departure::Output(stream, error)) => {
            let stream = match stream {
                Stream::Stdout => "output",
                Stream::Stderr => "error",
            };
            Err(Failure::new(format!(
                "cannot write to standard {stream}: {error}"
            )))
        }
        Some(Departure::Asked) => {
            terminal::tell_line("\ngot 3 SIGTERM/SIGINTs, forcefully exiting");
            Ok(Exit::FAILURE)
        }
        None => match start_failure(&state) {
            Some(failure) => Err(failure),
            None => Ok(Exit(state.exit_code)),
        },
    }
}

fn create(
    arguments: &RunArguments,
    session: &Session,
    request: &RunRequest,
) -> Result<HeldContainer, Failure> {
    let unpacking = Unpacking::start();
    let made = verbs::create_container(&session.stores, &session.outside, request, &|progress| {
        unpacking.take(progress);
    });
    unpacking.finish();
    let made = made?;
    if request.platform.is_none() {
        warn_of_platform(made.container());
    }
    if let Some(path) = &arguments.cidfile {
        fs::write(path, made.container().id().as_str())
            .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))?;
    }
    Ok(made)
}

/// Says in docker's words that an image is not for this machine, where the user asked for no platform.
fn warn_of_platform(container: &Container) {
    let host = kiln_oci::Platform::host();
    let spec = container.spec().ok();
    let platform = spec.as_ref().and_then(platform_of);
    if let Some(platform) = platform.filter(|platform| host.distance(platform).is_none()) {
        terminal::warn(&format!(
            "The requested image's platform ({platform}) does not match the detected host \
             platform ({host}) and no specific platform was requested"
        ));
    }
}

/// Runs a container to its end, connected to our own streams.
fn attached(
    arguments: &RunArguments,
    made: HeldContainer,
    monitor: Monitor,
    signals: &Signals,
) -> Result<Attended, Failure> {
    let stdin = io::stdin();
    let has_terminal = arguments.tty && terminal::stdin_is_terminal();
    let raw = if has_terminal && arguments.interactive {
        RawTerminal::enter(stdin.as_fd()).ok()
    } else {
        None
    };
    let mut onward = Onward::new(if arguments.tty {
        Ownership::Container
    } else {
        Ownership::Person
    });
    let mut pass_on = |stream: Stream, bytes: &[u8]| match stream {
        Stream::Stdout => onward.stdout(bytes),
        Stream::Stderr => onward.stderr(bytes),
    };
    let (stdout, stderr) = (io::stdout(), io::stderr());
    let attended = made.run(
        monitor,
        Attachment {
            output: Some(&mut pass_on),
            outlets: Some([stdout.as_fd(), stderr.as_fd()]),
            input: arguments.interactive.then(|| stdin.as_fd()),
            signals: Some(signals),
            terminal: has_terminal.then(|| stdin.as_fd()),
        },
    );
    drop(raw);
    attended.map_err(failure)
}

/// Pulls the image in a process of its own, unless it is here. Returns the status to end with if
/// that failed; it has said why.
fn pull_if_need_be(
    arguments: &RunArguments,
    request: &RunRequest,
    environment: &Environment,
) -> Result<Option<Exit>, Failure> {
    let image = &request.image;
    let policy = arguments.pull.unwrap_or_default();
    if policy != PullPolicy::Always {
        match verbs::find(&session::open(environment)?.stores, image) {
            Ok((_, local)) => match local.choose(image, request.platform.as_ref()) {
                Ok(_) => return Ok(None),
                // What was built here is not replaced by what a registry has.
                Err(error) if local.is_index() => return Err(error.into()),
                Err(error) if policy == PullPolicy::Never => return Err(error.into()),
                Err(_) => {}
            },
            Err(Error::NoSuchImage(_)) if policy == PullPolicy::Missing => {}
            Err(error) => return Err(error.into()),
        }
    }
    let name = crate::transfer::parse_name(image)?.tagged().familiar();
    if policy != PullPolicy::Always && !arguments.quiet {
        terminal::tell_line(&format!("Unable to find image '{name}' locally"));
    }
    let mut pull = own_program();
    pull.arg("pull");
    if let Some(platform) = &request.platform {
        pull.arg("--platform").arg(platform.to_string());
    }
    // Standard output belongs to the container.
    let stdout = if arguments.quiet {
        pull.arg("--quiet");
        Stdio::null()
    } else {
        Stdio::from(io::stderr())
    };
    kiln_runtime::end_with_parent(&mut pull);
    let status = pull
        .arg(name)
        .stdin(Stdio::null())
        .stdout(stdout)
        .status()
        .map_err(|error| {
            let error = kiln_threads::cannot_start(error);
            Failure::new(format!("cannot start a pull: {error}"))
        })?;
    Ok(match status.code() {
        Some(0) => None,
        Some(130) | None => Some(Exit::INTERRUPTED),
        Some(_) => Some(Exit::BEFORE_START),
    })
}

fn request(arguments: &RunArguments, environment: &Environment) -> Result<RunRequest, Failure> {
    let (image, command) = arguments
        .image_and_command
        .split_first()
        .ok_or_else(|| Failure::flag("an image is needed"))?;
    let name = arguments.name.as_deref().filter(|name| !name.is_empty());
    let name = name.map(str::parse).transpose();
    let stop_signal = arguments
        .stop_signal
        .as_deref()
        .map(str::parse::<SignalNumber>);
    let extra_hosts = arguments
        .extra_hosts
        .iter()
        .map(|text| parse_extra_host(text));
    let extra_hosts: Vec<_> = extra_hosts
        .collect::<Result<_, _>>()
        .map_err(Failure::flag)?;
    let ulimits = arguments.ulimits.iter().map(|text| parse_ulimit(text));
    Ok(RunRequest {
        id: ContainerId::random(),
        image: image.clone(),
        platform: platforms::one(arguments.platform.as_ref(), environment)?,
        command: command.to_vec(),
        name: name.map_err(|error| Failure::flag(format!("{error}")))?,
        env: variables(arguments, environment)?,
        working_dir: arguments.workdir.clone().filter(|path| !path.is_empty()),
        user: arguments.user.clone().filter(|user| !user.is_empty()),
        entrypoint: arguments.entrypoint.clone(),
        network: network(arguments)?,
        binds: binds(arguments, environment)?,
        hostname: arguments.hostname.clone().filter(|name| !name.is_empty()),
        extra_hosts: extra_hosts.into_iter().flatten().collect(),
        labels: arguments
            .labels
            .iter()
            .map(|text| split_pair(text))
            .map(|(key, value)| (key.to_owned(), value.unwrap_or_default().to_owned()))
            .collect(),
        ulimits: ulimits.collect::<Result<_, _>>().map_err(Failure::flag)?,
        resources: limits::resources(arguments)?,
        shm_size_bytes: match &arguments.shm_size {
            Some(size) => parse_size(size).map_err(|error| Failure::flag(error.to_string()))?,
            None => DEFAULT_SHM_SIZE_BYTES,
        },
        streams: streams(arguments)?,
        removal: if arguments.rm {
            Removal::Automatic
        } else {
            Removal::ByHand
        },
        stop_signal: stop_signal
            .transpose()
            .map_err(|error| Failure::flag(format!("{error}")))?,
        stop_timeout: arguments
            .stop_timeout
            .map_or(STOP_TIMEOUT, Duration::from_secs),
    })
}

fn variables(
    arguments: &RunArguments,
    environment: &Environment,
) -> Result<Vec<values::Variable>, Failure> {
    let proxies = environment.injected_proxies().into_iter();
    let mut variables: Vec<values::Variable> =
        proxies.map(|(name, value)| (name, Some(value))).collect();
    for path in &arguments.env_files {
        variables.extend(values::env_file(path, environment)?);
    }
    for text in &arguments.env {
        variables.push(values::variable(text, environment)?);
    }
    Ok(variables)
}

fn binds(
    arguments: &RunArguments,
    environment: &Environment,
) -> Result<Vec<kiln_engine::Bind>, Failure> {
    let home = environment.text("HOME").map(std::path::PathBuf::from);
    let texts = arguments.volumes.iter();
    texts
        .map(|text| values::bind(text, home.as_deref()))
        .collect()
}

fn network(arguments: &RunArguments) -> Result<JobNetwork, Failure> {
    let mode = arguments.network.as_deref().unwrap_or_default();
    mode.parse().map_err(|error: UnknownNetwork| {
        if mode == "bridge" || mode.starts_with("container:") {
            return Failure::flag(error.to_string());
        }
        // The name of a network that a user made: docker's words, which programs look for.
        Failure::flag(format!("network {mode} not found"))
            .with_hint("there are two: host, which is this machine's, and none")
    })
}

fn streams(arguments: &RunArguments) -> Result<Streams, Failure> {
    if arguments.tty {
        if arguments.interactive && !arguments.detach && !terminal::stdin_is_terminal() {
            return Err(Failure::new("the input device is not a TTY"));
        }
        let size = WindowSize::of(io::stdout()).unwrap_or(UNSEEN);
        return Ok(Streams::Terminal(size));
    }
    Ok(if arguments.interactive {
        Streams::Piped
    } else {
        Streams::Output
    })
}
