//! The process beside a container: holds its streams, writes its log and state, answers requests.
//!
//! In the foreground that is the very kiln the user started; for a detached container it is a
//! kiln of its own, started by [`Container::start_detached`] and running [`main`]. Both hold the
//! container's lock from before it starts until its end is written down, and both take the
//! container's process along when they are killed.

use std::cell::Cell;
use std::io::{self, Write as _};
use std::os::fd::BorrowedFd;
use std::path::Path;

use kiln_oci::Timestamp;
use serde::{Deserialize, Serialize};

use crate::container::Container;
use crate::control::Listener;
use crate::farewell::Farewell;
use crate::held::Held;
use crate::log::LogWriter;
use crate::outlet::Outlet;
use crate::state::{Removal, State, Status};
use crate::watch::Watch;
use crate::{ContainerError, Signals};
use kiln_runtime::{LocalExecutor, Stream};

/// Takes output of a container in the foreground. Its failure ends the container.
pub type Sink<'a> = dyn FnMut(Stream, &[u8]) -> io::Result<()> + 'a;

/// What a container in the foreground is connected to.
#[derive(Default)]
pub struct Attachment<'a> {
    /// Takes its output, beside the log.
    pub output: Option<&'a mut Sink<'a>>,
    /// Where it puts standard output and standard error: nothing is given to it that would have to
    /// wait there.
    pub outlets: Option<[BorrowedFd<'a>; 2]>,
    /// Its input, if it has one.
    pub input: Option<BorrowedFd<'a>>,
    /// Signals to pass on.
    pub signals: Option<&'a Signals>,
    /// The user's terminal, whose size the container's own follows.
    pub terminal: Option<BorrowedFd<'a>>,
}

impl std::fmt::Debug for Attachment<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attachment")
            .field("output", &self.output.is_some())
            .field("outlets", &self.outlets)
            .field("input", &self.input)
            .field("signals", &self.signals)
            .field("terminal", &self.terminal)
            .finish()
    }
}

/// What became of a container, and of what was known of it.
#[derive(Debug)]
pub struct Attended {
    /// What became of it.
    pub state: State,
    /// Why it was ended, if it did not end by itself.
    pub departure: Option<Departure>,
    /// Why its state could not be written down.
    pub unwritten: Option<ContainerError>,
}

/// Why a container in the foreground was ended. There is nobody but us to stand beside it, so it
/// goes when we do.
#[derive(Debug)]
pub enum Departure {
    /// What it wrote could not be passed on.
    Output(Stream, io::Error),
    /// It was asked three times to end.
    Asked,
}

/// What a detached monitor tells the kiln that started it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Announcement {
    /// It runs; by now it may have ended, and be gone.
    Started(State),
    Failed(State),
    /// It was not even tried.
    Refused(String),
}

/// Runs a container detached; what the program does that [`Container::start_detached`] starts.
///
/// Expects its namespaces to be entered already. Announces on standard output whether the
/// container started.
///
/// # Errors
/// The container's directory cannot be used.
pub fn main(directory: &Path) -> Result<(), ContainerError> {
    // Fails only for the leader of a group, which is no part of anybody's job control then.
    let _ = rustix::process::setsid();
    let announced = Cell::new(false);
    let announce = |announcement: Announcement| {
        if announced.replace(true) {
            return;
        }
        let mut line = serde_json::to_vec(&announcement).unwrap_or_default();
        line.push(b'\n');
        // Whoever started us may be gone; the state says the same.
        let mut stdout = io::stdout().lock();
        let _ = stdout.write_all(&line).and_then(|()| stdout.flush());
        drop(stdout);
        let _ = silence_stdout();
    };
    let held = Container::open(directory).and_then(|container| container.hold_handed_over());
    let ended = held.and_then(|held| {
        let started = |state: &State| announce(Announcement::Started(state.clone()));
        run(held, Attachment::default(), started)
    });
    match ended {
        Ok(ended) => {
            announce(Announcement::Failed(ended.state));
            ended.unwritten.map_or(Ok(()), Err)
        }
        Err(error) => {
            announce(Announcement::Refused(with_sources(&error)));
            Err(error)
        }
    }
}

/// Lets go of the pipe on standard output: its reader waits for no more.
fn silence_stdout() -> io::Result<()> {
    let null = std::fs::OpenOptions::new().write(true).open("/dev/null")?;
    Ok(rustix::stdio::dup2_stdout(null)?)
}

/// Runs a container to its end and returns what became of it.
///
/// `started` is told what is known of it once its process is the user's program.
pub(crate) fn run(
    mut held: Held,
    mut attachment: Attachment<'_>,
    started: impl FnOnce(&State),
) -> Result<Attended, ContainerError> {
    let container = held.container().clone();
    let directory = container.directory();
    let spec = container.spec()?;
    held.reserve()?;
    // A work directory serves one mount.
    container.renew_work_directory()?;
    let mut state = State {
        status: Status::Running,
        started: Some(Timestamp::now()),
        ..State::CREATED
    };
    let mut listener = Listener::bind(directory).map_err(ContainerError::at(directory))?;
    let mut log = LogWriter::open(directory).map_err(ContainerError::at(directory))?;
    let executor = LocalExecutor::new(&directory.join("mounts"));
    let mut departure = None;
    let mut outlet = Outlet::default();
    let outcome = executor.and_then(|executor| {
        let mut running = executor.start(&spec.job)?;
        state.process = running.id();
        let watch = Watch {
            listener: &mut listener,
            log: &mut log,
            attachment: &mut attachment,
            outlet: &mut outlet,
            held: &mut held,
            state: &mut state,
            farewell: Farewell::new(&spec, &mut departure),
        };
        match watch.until_end(&mut running, started) {
            Ok(ended) => running.finish(ended),
            Err(error) => Err(running.abandon(error)),
        }
    });
    state.status = Status::Exited;
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
    let written = match spec.removal {
        Removal::ByHand => held.write_end(&state),
        Removal::Automatic => held.remove(),
    };
    // Whoever waits for the end of a connection may start or remove the container next.
    drop(held);
    listener.say_last(&state);
    // Only now: who reads it may take as long as they like.
    if departure.is_none() {
        departure = outlet.empty(&mut attachment);
    }
    Ok(Attended {
        state,
        departure,
        unwritten: written.err(),
    })
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
