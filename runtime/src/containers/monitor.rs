//! The process beside a container: holds its streams, writes its log and state, answers requests.
//!
//! In the foreground that is the very kiln the user started; for a detached container it is a
//! kiln of its own, started by [`Container::start_detached`] and running [`main`]. Both hold the
//! container's lock from before it starts until its end is written down, and both take the
//! container's process along when they are killed.

use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use kiln_cache::Timestamp;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::container::{Container, Held};
use super::control::{Answer, Listener, Request};
use super::log::LogWriter;
use super::state::{Removal, State, Status};
use super::{ContainerError, SignalNumber, Signals};
use crate::executor::{Ended, OurStreams, Report, Running, finish, is_readable, winsize};
use crate::{LocalExecutor, Output, Stream, WindowSize, sys};

/// What a container in the foreground is connected to.
#[derive(Default)]
pub struct Attachment<'a> {
    /// Takes its output, beside the log.
    pub output: Option<&'a mut dyn Output>,
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
            .field("input", &self.input)
            .field("signals", &self.signals)
            .field("terminal", &self.terminal)
            .finish()
    }
}

/// What a detached monitor tells the kiln that started it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Announcement {
    Started,
    Failed(State),
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
    let container = Container::open(directory)?;
    let held = container.hold()?;
    let mut announced = false;
    let mut announce = |announcement: Announcement| {
        announced = true;
        let mut line = serde_json::to_vec(&announcement).unwrap_or_default();
        line.push(b'\n');
        // Whoever started us may be gone; the state says the same.
        let mut stdout = io::stdout().lock();
        let _ = stdout.write_all(&line).and_then(|()| stdout.flush());
        drop(stdout);
        let _ = silence_stdout();
    };
    let started = |_: u32| announce(Announcement::Started);
    let state = run(held, Attachment::default(), started)?;
    if !announced {
        let mut line = serde_json::to_vec(&Announcement::Failed(state)).unwrap_or_default();
        line.push(b'\n');
        let _ = io::stdout().write_all(&line);
    }
    Ok(())
}

/// Lets go of the pipe on standard output: its reader waits for no more.
fn silence_stdout() -> io::Result<()> {
    let null = std::fs::OpenOptions::new().write(true).open("/dev/null")?;
    Ok(rustix::stdio::dup2_stdout(null)?)
}

/// Runs a container to its end and returns what became of it.
///
/// `started` is told the id of its process once that is the user's program.
pub(super) fn run(
    mut held: Held,
    mut attachment: Attachment<'_>,
    started: impl FnOnce(u32),
) -> Result<State, ContainerError> {
    let container = held.container().clone();
    let spec = container.spec()?;
    // A work directory serves one mount.
    container.renew_work_directory()?;
    let mut state = State {
        status: Status::Running,
        started: Some(Timestamp::now()),
        ..State::CREATED
    };
    let mut listener =
        Listener::bind(container.directory()).map_err(ContainerError::at(container.directory()))?;
    let mut log = LogWriter::open(&container.directory().join("log"))
        .map_err(ContainerError::at(container.directory()))?;
    let executor = LocalExecutor::new(&container.directory().join("mounts"));
    let outcome = executor.and_then(|executor| {
        let mut running = executor.start(&spec.job)?;
        state.process = Some(running.process.pid);
        let watch = Watch {
            listener: &mut listener,
            log: &mut log,
            attachment: &mut attachment,
            held: &mut held,
            state: &mut state,
        };
        match watch.until_end(&mut running, started) {
            Ok(ended) => finish(running, ended, false),
            Err(errno) => Err(running.abandon(errno)),
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
    // A disk that is full has eaten the end of the log; the state is more important.
    let _ = log.finish();
    match spec.removal {
        Removal::ByHand => held.write_state(&state)?,
        Removal::Automatic => held.remove()?,
    }
    // Whoever waits for the end of a connection may start or remove the container next.
    drop(held);
    drop(listener);
    Ok(state)
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

/// Everything that may happen while a container runs.
struct Watch<'w, 'a> {
    listener: &'w mut Listener,
    log: &'w mut LogWriter,
    attachment: &'w mut Attachment<'a>,
    held: &'w mut Held,
    state: &'w mut State,
}

/// What became readable or writable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Output(Stream),
    Ended,
    Report,
    Request,
    Input,
    Room,
    Signal,
}

impl Watch<'_, '_> {
    fn until_end(
        mut self,
        running: &mut Running,
        started: impl FnOnce(u32),
    ) -> Result<Ended, Errno> {
        let mut started = Some(started);
        let mut report = Report::default();
        let mut input = Input::new(running, self.attachment.input);
        let mut open = vec![Stream::Stdout, Stream::Stderr];
        if matches!(running.streams, OurStreams::Terminal(_)) {
            open.pop();
        }
        let mut buffer = vec![0; 64 << 10];
        loop {
            if input.is_over() {
                running.close_input();
            }
            let events = self.wait(running, &open, &input, started.is_some())?;
            for event in events {
                match event {
                    Event::Output(stream) => {
                        if !self.pass_on(running, stream, &mut buffer)? {
                            open.retain(|other| *other != stream);
                        }
                    }
                    Event::Report => self.hear(running, &mut report, &mut started)?,
                    Event::Request => {
                        let running = &*running;
                        self.listener.serve(|request| answer(running, request));
                    }
                    Event::Input => input.read(),
                    Event::Room => input.write(running),
                    Event::Signal => self.pass_signal_on(running),
                    Event::Ended => {
                        let status = running.process.reap()?;
                        for &stream in &open {
                            while is_readable(output(running, stream))?
                                && self.pass_on(running, stream, &mut buffer)?
                            {
                            }
                        }
                        while started.is_some() && is_readable(running.report.as_fd())? {
                            self.hear(running, &mut report, &mut started)?;
                        }
                        return Ok(Ended { report, status });
                    }
                }
            }
        }
    }

    /// Hears a process that is not the program yet. The end of its report is the program's start,
    /// unless it reported a failure.
    fn hear<F: FnOnce(u32)>(
        &mut self,
        running: &mut Running,
        report: &mut Report,
        started: &mut Option<F>,
    ) -> Result<(), Errno> {
        if report.read(&running.report)? {
            return Ok(());
        }
        if let (false, Some(started)) = (report.is_failure(), started.take()) {
            // A full disk: the container runs all the same, and its end is written if that can be.
            let _ = self.held.write_state(self.state);
            started(running.process.pid);
        }
        Ok(())
    }

    /// Waits until something happens.
    fn wait(
        &self,
        running: &Running,
        open: &[Stream],
        input: &Input<'_>,
        starting: bool,
    ) -> Result<Vec<Event>, Errno> {
        let mut watched: Vec<(Event, BorrowedFd<'_>, PollFlags)> = open
            .iter()
            .map(|&stream| {
                (
                    Event::Output(stream),
                    output(running, stream),
                    PollFlags::IN,
                )
            })
            .collect();
        if starting {
            watched.push((Event::Report, running.report.as_fd(), PollFlags::IN));
        }
        for descriptor in self.listener.descriptors() {
            watched.push((Event::Request, descriptor, PollFlags::IN));
        }
        if let Some(signals) = self.attachment.signals {
            watched.push((Event::Signal, signals.as_fd(), PollFlags::IN));
        }
        match (
            input.source,
            input.pending.is_empty(),
            input.target(running),
        ) {
            (Some(source), true, Some(_)) => watched.push((Event::Input, source, PollFlags::IN)),
            (_, false, Some(target)) => watched.push((Event::Room, target, PollFlags::OUT)),
            _ => {}
        }
        // Last, so that what was written before the end is seen before it.
        watched.push((Event::Ended, running.process.pidfd.as_fd(), PollFlags::IN));
        let mut events: Vec<PollFd<'_>> = watched
            .iter()
            .map(|(_, fd, flags)| PollFd::from_borrowed_fd(*fd, *flags))
            .collect();
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut events, None))?;
        let mut happened: Vec<Event> = watched
            .iter()
            .zip(&events)
            .filter(|(_, event)| !event.revents().is_empty())
            .map(|((event, ..), _)| *event)
            .collect();
        happened.dedup();
        Ok(happened)
    }

    /// Reads output once and gives it away; says whether more may come.
    fn pass_on(
        &mut self,
        running: &Running,
        stream: Stream,
        buffer: &mut [u8],
    ) -> Result<bool, Errno> {
        let from = output(running, stream);
        match rustix::io::retry_on_intr(|| rustix::io::read(from, &mut *buffer)) {
            // A terminal nobody has open any more answers EIO.
            Ok(0) | Err(Errno::IO) => Ok(false),
            // The way into a terminal is the way out of it, and does not wait.
            Err(Errno::AGAIN) => Ok(true),
            Ok(length) => {
                let bytes = &buffer[..length];
                // A disk that is full must not stop the container.
                let _ = self.log.write(stream, bytes);
                if let Some(output) = &mut self.attachment.output {
                    output.chunk(stream, bytes);
                }
                Ok(true)
            }
            Err(errno) => Err(errno),
        }
    }

    fn pass_signal_on(&self, running: &Running) {
        let Some(signal) = self.attachment.signals.and_then(Signals::next) else {
            return;
        };
        let size = self.attachment.terminal.and_then(WindowSize::of);
        match (signal.number() == libc::SIGWINCH, size) {
            (true, Some(size)) => {
                let _ = answer(running, Request::Resize(size));
            }
            (true, None) => {}
            (false, _) => {
                let _ = answer(running, Request::Signal(signal));
            }
        }
    }
}

fn output(running: &Running, stream: Stream) -> BorrowedFd<'_> {
    match (&running.streams, stream) {
        (OurStreams::Terminal(master), _) => master.as_fd(),
        (OurStreams::Pipes { stdout, .. }, Stream::Stdout) => stdout.as_fd(),
        (OurStreams::Pipes { stderr, .. }, Stream::Stderr) => stderr.as_fd(),
    }
}

fn answer(running: &Running, request: Request) -> Answer {
    let result = match request {
        Request::Wait => Ok(()),
        Request::Signal(signal) => send(&running.process.pidfd, signal),
        Request::Resize(size) => match &running.streams {
            OurStreams::Terminal(master) => rustix::termios::tcsetwinsize(master, winsize(size)),
            OurStreams::Pipes { .. } => Err(Errno::NOTTY),
        },
    };
    match result {
        Ok(()) => Answer::Done,
        Err(errno) => Answer::Failed(io::Error::from(errno).to_string()),
    }
}

fn send(process: &OwnedFd, signal: SignalNumber) -> Result<(), Errno> {
    sys::send_signal(process.as_fd(), signal.number())
}

/// The way of input into a container.
struct Input<'a> {
    source: Option<BorrowedFd<'a>>,
    /// Read but not yet taken by the container.
    pending: Vec<u8>,
    /// Whether the source ended. Without one, the input stays open with nobody to fill it.
    has_ended: bool,
}

impl<'a> Input<'a> {
    fn new(running: &Running, source: Option<BorrowedFd<'a>>) -> Self {
        let input = Self {
            source,
            pending: Vec::new(),
            has_ended: false,
        };
        if let Some(target) = input.target(running) {
            // A container that does not read must not hold up its output.
            let flags = rustix::fs::fcntl_getfl(target);
            let _ = flags.and_then(|flags| {
                rustix::fs::fcntl_setfl(target, flags | rustix::fs::OFlags::NONBLOCK)
            });
        }
        input
    }

    fn target<'r>(&self, running: &'r Running) -> Option<BorrowedFd<'r>> {
        match &running.streams {
            OurStreams::Pipes { stdin, .. } => stdin.as_ref().map(|stdin| stdin.as_fd()),
            OurStreams::Terminal(master) => Some(master.as_fd()),
        }
    }

    /// Says whether the container will get no more.
    fn is_over(&self) -> bool {
        self.has_ended && self.pending.is_empty()
    }

    fn read(&mut self) {
        let Some(source) = self.source else { return };
        let mut buffer = [0; 4096];
        match rustix::io::read(source, &mut buffer) {
            Ok(0) => self.end(),
            Ok(length) => self.pending.extend_from_slice(&buffer[..length]),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => self.end(),
        }
    }

    fn end(&mut self) {
        self.source = None;
        self.has_ended = true;
    }

    fn write(&mut self, running: &Running) {
        let Some(target) = self.target(running) else {
            return;
        };
        match rustix::io::write(target, &self.pending) {
            Ok(length) => {
                self.pending.drain(..length);
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            // It closed its input.
            Err(_) => {
                self.pending.clear();
                self.end();
            }
        }
    }
}
