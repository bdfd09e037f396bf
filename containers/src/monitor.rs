//! The process beside a container: holds its streams, writes its log and state, answers requests.
//!
//! Every container has one of its own, also in the foreground, so that it goes on whatever becomes
//! of the kiln that started it. It holds the container's lock from before it starts until its end
//! is written down, and takes the container's process along when it is killed.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use kiln_oci::Timestamp;
use kiln_runtime::LocalExecutor;

use crate::ContainerError;
use crate::attached::AttachedClients;
use crate::container::Container;
use crate::held::HeldContainer;
use crate::job::job;
use crate::listener::{Listener, MonitorReply};
use crate::log::LogWriter;
use crate::requests::{LastWords, MonitorAnswer, MonitorRequest, write_line};
use crate::spec::{Removal, Spec};
use crate::standby::receive_lock;
use crate::state::{ContainerStatus, StoredState};
use crate::watch::Watch;

/// Stands beside a container from its start to its end. The process that [`crate::Monitor::start`]
/// makes calls this and nothing else.
///
/// Expects its namespaces to be entered already, and as standard output a connection to the process
/// that started it, which hands over the container's lock.
///
/// # Errors
/// The container's directory cannot be used.
pub fn main(directory: &Path) -> Result<(), ContainerError> {
    // Fails only for the leader of a process group, which no job control of a shell concerns.
    let _ = rustix::process::setsid();
    // The process that started this one may have blocked signals.
    kiln_runtime::accept_signals();
    let starter = take_stdout().map_err(ContainerError::at(Path::new("/dev/stdout")))?;
    let lock = receive_lock(&starter).map_err(ContainerError::at(directory))?;
    let Some(lock) = lock else {
        // No container was made.
        return Ok(());
    };
    let refuse = starter.try_clone();
    let held = Container::open(directory).and_then(|container| container.hold_by(lock));
    let done = held.and_then(|held| stand_by(held, starter));
    if let (Err(error), Ok(refuse)) = (&done, &refuse) {
        // The process that started this one may be gone, or have its answer.
        let _ = write_line(refuse, &MonitorAnswer::Failed(with_sources(error)));
    }
    done
}

/// Takes the connection that standard output is; what is printed goes nowhere then.
fn take_stdout() -> io::Result<UnixStream> {
    let connection = rustix::stdio::stdout().try_clone_to_owned()?;
    let null = OpenOptions::new().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(null)?;
    Ok(UnixStream::from(connection))
}

/// Waits until a client asks for the start, and runs the container to its end.
fn stand_by(mut held: HeldContainer, starter: UnixStream) -> Result<(), ContainerError> {
    let container = held.container().clone();
    let directory = container.directory();
    let spec = container.spec()?;
    let mut listener = Listener::bind(directory, starter).map_err(ContainerError::at(directory))?;
    let mut attached = AttachedClients::new(spec.framing());
    let answer = |request: MonitorRequest, descriptor: Option<OwnedFd>| match request {
        MonitorRequest::Start => MonitorReply::WhenStarted,
        MonitorRequest::Attach { input } => MonitorReply::Now(attached.admit(descriptor, input)),
        MonitorRequest::Wait => MonitorReply::Now(MonitorAnswer::Done),
        MonitorRequest::Signal(_) | MonitorRequest::Resize(_) => {
            MonitorReply::Now(MonitorAnswer::Failed("it has not been started".to_owned()))
        }
    };
    let is_wanted = listener
        .await_start(answer)
        .map_err(ContainerError::at(directory))?;
    if !is_wanted {
        return Ok(());
    }
    let (state, written) = run(&mut held, &spec, &mut listener, &mut attached)?;
    // A client that waits for the end of its connection may start or remove the container next.
    drop(held);
    listener.say_last(&LastWords {
        state,
        unwritten: written.as_ref().err().map(with_sources),
    });
    // Only now: clients may take as long as they like to read.
    attached.wait_until_taken();
    written
}

/// Runs a container to its end. Returns what became of it, and whether that is written down.
fn run(
    held: &mut HeldContainer,
    spec: &Spec,
    listener: &mut Listener,
    attached: &mut AttachedClients,
) -> Result<(StoredState, Result<(), ContainerError>), ContainerError> {
    let container = held.container().clone();
    let directory = container.directory();
    let job = job(spec, directory).map_err(|error| ContainerError::NotUnderstood {
        id: spec.id.clone(),
        what: error.to_string(),
    })?;
    held.reserve()?;
    // A work directory of overlayfs serves one mount.
    container.renew_work_directory()?;
    let mut state = StoredState {
        status: ContainerStatus::Running,
        started: Some(Timestamp::now()),
        ..StoredState::CREATED
    };
    let mut log = LogWriter::open(directory).map_err(ContainerError::at(directory))?;
    let executor = LocalExecutor::new(&directory.join("mounts"));
    let outcome = executor.and_then(|executor| {
        let mut running = executor.start(&job)?;
        state.process = running.id();
        let watch = Watch {
            listener,
            log: &mut log,
            attached,
            held,
            state: &mut state,
        };
        match watch.until_end(&mut running) {
            Ok(ended) => running.finish(ended),
            Err(error) => Err(running.abandon(error)),
        }
    });
    state.status = ContainerStatus::Exited;
    state.process = None;
    state.finished = Some(Timestamp::now());
    match outcome {
        Ok(outcome) => {
            state.exit_code = outcome.end.code();
            state.error = outcome.end.start_failure();
            state.out_of_memory = outcome.out_of_memory;
        }
        Err(error) => {
            // Docker's code for containers that could not be set up.
            state.exit_code = 128;
            state.error = Some(with_sources(&error));
        }
    }
    state.lost_log_lines = log.finish();
    let written = match spec.removal() {
        Removal::ByHand => held.write_end(&state),
        Removal::Automatic => held.remove(),
    };
    // For clients that were not told that it runs.
    listener.announce(&MonitorAnswer::NotStarted(state.clone()));
    Ok((state, written))
}

fn with_sources(error: &(impl std::error::Error + ?Sized)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
