//! A container in the foreground: this process passes its output to the user, and input and signals
//! of the user to it.
//!
//! If this process is killed, the container goes on. It never waits when it writes output, as it
//! would in `run IMAGE yes | less`, so it can pass Ctrl-C on although no output is read.

use std::io::{self, Write as _};
use std::net::Shutdown;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;

use kiln_runtime::{Stream, WindowSize};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use crate::client::MonitorClient;
use crate::foreground_stop::ForegroundStop;
use crate::frames::{FrameReader, Framing};
use crate::requests::MonitorAnswer;
use crate::{Container, ContainerError, SignalNumber, Signals, StoredState};

/// Bytes that a pipe takes at once if it takes any (pipe(7), `PIPE_BUF`).
const AT_ONCE_BYTES: usize = 4096;

/// Takes output of a container in the foreground. Its failure ends the container.
pub type Sink<'a> = dyn FnMut(Stream, &[u8]) -> io::Result<()> + 'a;

/// What a container in the foreground is connected to.
#[derive(Default)]
pub struct Attachment<'a> {
    /// Takes its output, beside the log.
    pub output: Option<&'a mut Sink<'a>>,
    /// Where `output` writes standard output and standard error: it is called only when these can
    /// be written to without waiting.
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
    /// What became of it; what was known last of one that goes on.
    pub state: StoredState,
    /// Why the user left, or had it ended, if it did not end by itself.
    pub departure: Option<Departure>,
    /// Why its state could not be written down.
    pub unwritten: Option<String>,
}

/// Why a container in the foreground was left before it ended by itself.
#[derive(Debug)]
pub enum Departure {
    /// What it wrote could not be passed on; it was asked to end and has.
    Output(Stream, io::Error),
    /// The user asked three times, and leaves; the container goes on.
    Asked,
}

/// An attached client: the connection to the monitor and the user's streams.
pub(crate) struct AttachSession<'s, 'a> {
    container: &'s Container,
    client: MonitorClient,
    socket: UnixStream,
    attachment: Attachment<'a>,
    foreground_stop: ForegroundStop<'s>,
    frames: FrameReader,
    /// What was read of the output, and how much of it was taken.
    read: Vec<u8>,
    taken: usize,
    /// Input that the monitor has not taken yet.
    input: Vec<u8>,
    /// What became of the container, as far as the monitor has said.
    known: MonitorNews,
    departure: Option<Departure>,
}

/// What the monitor has said so far.
enum MonitorNews {
    /// Nothing.
    Silent,
    /// That it has attached this client.
    Attached,
    Started(StoredState),
    Ended(StoredState, Option<String>),
    /// It said no more, and has hung up.
    Killed,
}

/// What became readable or writable.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AttachEvent {
    Output,
    Outlet,
    Input,
    Room,
    Signal,
    Said,
}

impl<'s, 'a> AttachSession<'s, 'a> {
    pub(crate) fn new(
        container: &'s Container,
        client: MonitorClient,
        socket: UnixStream,
        attachment: Attachment<'a>,
        foreground_stop: ForegroundStop<'s>,
        framing: Framing,
    ) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            container,
            client,
            socket,
            attachment,
            foreground_stop,
            frames: FrameReader::new(framing),
            read: Vec::new(),
            taken: 0,
            input: Vec::new(),
            known: MonitorNews::Silent,
            departure: None,
        })
    }

    /// Stays until the container has ended and all of its output was passed on, or the user leaves.
    pub(crate) fn attend(mut self) -> Result<Attended, ContainerError> {
        if self.pass_everything_on()? {
            while !matches!(self.known, MonitorNews::Ended(..) | MonitorNews::Killed) {
                self.read_answers()?;
            }
        }
        let (state, unwritten) = match self.known {
            MonitorNews::Ended(state, unwritten) => (state, unwritten),
            MonitorNews::Started(state) => (state, None),
            MonitorNews::Silent | MonitorNews::Attached => {
                return Err(ContainerError::NoMonitor(self.container.id().clone()));
            }
            MonitorNews::Killed => (self.container.state_after_silence()?, None),
        };
        Ok(Attended {
            state,
            departure: self.departure,
            unwritten,
        })
    }

    /// Passes on output, input and signals until the output has ended; false if the user leaves
    /// before that.
    fn pass_everything_on(&mut self) -> Result<bool, ContainerError> {
        let container = self.container;
        let at = || ContainerError::at(container.directory());
        let mut blocked = None;
        loop {
            if blocked.is_none() {
                blocked = self.pass_output_on().map_err(at())?;
            }
            let events = self.wait(blocked).map_err(at())?;
            if self.foreground_stop.is_over() {
                self.foreground_stop.kill();
            }
            for event in events {
                match event {
                    AttachEvent::Outlet => blocked = None,
                    AttachEvent::Output => {
                        if !self.read_output().map_err(at())? {
                            return Ok(true);
                        }
                    }
                    AttachEvent::Input => self.read_input(),
                    AttachEvent::Room => self.write_input(),
                    AttachEvent::Signal => {
                        if !self.pass_signal_on() {
                            return Ok(false);
                        }
                    }
                    AttachEvent::Said => self.read_answers()?,
                }
            }
        }
    }

    /// Waits until something happens. Output is not read as long as there is some that has to wait
    /// for `blocked`.
    fn wait(&self, blocked: Option<Stream>) -> io::Result<Vec<AttachEvent>> {
        let mut watched = Vec::new();
        match blocked.and_then(|stream| self.way(stream)) {
            Some(way) => watched.push((AttachEvent::Outlet, way, PollFlags::OUT)),
            None => watched.push((AttachEvent::Output, self.socket.as_fd(), PollFlags::IN)),
        }
        if !matches!(self.known, MonitorNews::Ended(..) | MonitorNews::Killed) {
            watched.push((AttachEvent::Said, self.client.as_fd(), PollFlags::IN));
        }
        // Before the start there is no process to pass signals on to.
        if let (MonitorNews::Started(_) | MonitorNews::Ended(..), Some(signals)) =
            (&self.known, self.attachment.signals)
        {
            watched.push((AttachEvent::Signal, signals.as_fd(), PollFlags::IN));
        }
        match (self.attachment.input, self.input.is_empty()) {
            (Some(source), true) => watched.push((AttachEvent::Input, source, PollFlags::IN)),
            (_, false) => watched.push((AttachEvent::Room, self.socket.as_fd(), PollFlags::OUT)),
            (None, true) => {}
        }
        let mut events: Vec<PollFd<'_>> = watched
            .iter()
            .map(|(_, fd, flags)| PollFd::from_borrowed_fd(*fd, *flags))
            .collect();
        let patience = self.foreground_stop.patience();
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut events, patience.as_ref()))?;
        let happened = watched.iter().zip(&events);
        Ok(happened
            .filter(|(_, event)| !event.revents().is_empty())
            .map(|((event, ..), _)| *event)
            .collect())
    }

    /// Reads output once; says whether more may come.
    fn read_output(&mut self) -> io::Result<bool> {
        self.read.resize(64 << 10, 0);
        self.taken = 0;
        let read = rustix::io::read(&self.socket, &mut *self.read);
        let length = match read {
            Ok(0) | Err(Errno::CONNRESET) => return Ok(false),
            Ok(length) => length,
            Err(Errno::INTR | Errno::AGAIN) => 0,
            Err(errno) => return Err(errno.into()),
        };
        self.read.truncate(length);
        Ok(true)
    }

    /// Passes on what was read, as far as that goes without waiting. Returns the stream that would
    /// have to wait.
    fn pass_output_on(&mut self) -> io::Result<Option<Stream>> {
        loop {
            let mut rest = &self.read[self.taken..];
            let stream = self.frames.next_stream(&mut rest);
            self.taken = self.read.len() - rest.len();
            let Some(stream) = stream else {
                return Ok(None);
            };
            if !self.is_clear(stream)? {
                return Ok(Some(stream));
            }
            let mut rest = &self.read[self.taken..];
            let piece = self.frames.take(&mut rest, AT_ONCE_BYTES);
            let result = match &mut self.attachment.output {
                Some(output) => output(stream, piece),
                None => Ok(()),
            };
            self.taken = self.read.len() - rest.len();
            if let Err(error) = result {
                self.attachment.output = None;
                self.departure
                    .get_or_insert(Departure::Output(stream, error));
                let process = match &self.known {
                    MonitorNews::Started(state) => state.process,
                    _ => None,
                };
                self.foreground_stop.ask(process);
            }
        }
    }

    /// Returns what output of a stream has to wait for, if anything.
    fn way(&self, stream: Stream) -> Option<BorrowedFd<'a>> {
        self.attachment.output.as_ref()?;
        let [stdout, stderr] = self.attachment.outlets?;
        Some(match stream {
            Stream::Stdout => stdout,
            Stream::Stderr => stderr,
        })
    }

    /// Says whether output of a stream can be passed on now.
    fn is_clear(&self, stream: Stream) -> io::Result<bool> {
        let Some(way) = self.way(stream) else {
            return Ok(true);
        };
        let mut event = [PollFd::from_borrowed_fd(way, PollFlags::OUT)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // An error counts as ready: writing will return it.
        let ready = rustix::io::retry_on_intr(|| rustix::event::poll(&mut event, Some(&now)))?;
        Ok(ready > 0)
    }

    fn read_input(&mut self) {
        let Some(source) = self.attachment.input else {
            return;
        };
        let mut buffer = [0; 4096];
        match rustix::io::read(source, &mut buffer) {
            Ok(length) if length > 0 => {
                self.input.extend_from_slice(&buffer[..length]);
                self.write_input();
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            Ok(_) | Err(_) => {
                self.attachment.input = None;
                // This fails only if the container has ended, which needs no input.
                let _ = self.socket.shutdown(Shutdown::Write);
            }
        }
    }

    fn write_input(&mut self) {
        match (&self.socket).write(&self.input) {
            Ok(length) => {
                self.input.drain(..length);
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
                ) => {}
            Err(_) => {
                self.input.clear();
                self.attachment.input = None;
            }
        }
    }

    /// Passes a signal on; false if the user leaves.
    fn pass_signal_on(&mut self) -> bool {
        let Some(signal) = self.attachment.signals.and_then(Signals::next) else {
            return true;
        };
        if matches!(self.known, MonitorNews::Ended(..)) {
            // The container has ended and only output is left: the user need not wait for it.
            return !ends_programs(signal);
        }
        if self.foreground_stop.is_asked_too_often(signal) {
            self.departure = Some(Departure::Asked);
            return false;
        }
        // A container that has ended meanwhile needs neither a signal nor a size.
        let _ = match self.attachment.terminal {
            _ if signal.number() != libc::SIGWINCH => self.container.kill(signal),
            Some(terminal) => match WindowSize::of(terminal) {
                Some(size) => self.container.resize(size),
                None => Ok(()),
            },
            None => Ok(()),
        };
        true
    }

    /// Reads what the monitor answers.
    fn read_answers(&mut self) -> Result<(), ContainerError> {
        loop {
            let at = || ContainerError::at(self.container.directory());
            self.known = match &self.known {
                MonitorNews::Silent | MonitorNews::Attached => {
                    match self.client.next_answer().map_err(at())? {
                        Some(MonitorAnswer::Done) => MonitorNews::Attached,
                        Some(MonitorAnswer::Started(state) | MonitorAnswer::NotStarted(state)) => {
                            MonitorNews::Started(state)
                        }
                        Some(MonitorAnswer::Failed(reason)) => {
                            return Err(ContainerError::Refused {
                                id: self.container.id().clone(),
                                reason,
                            });
                        }
                        None => return Err(ContainerError::NoMonitor(self.container.id().clone())),
                    }
                }
                MonitorNews::Started(_) => match self.client.last_words().map_err(at())? {
                    Some(words) => MonitorNews::Ended(words.state, words.unwritten),
                    None => MonitorNews::Killed,
                },
                MonitorNews::Ended(..) | MonitorNews::Killed => return Ok(()),
            };
            if !self.client.has_line() {
                return Ok(());
            }
        }
    }
}

/// Says whether a signal ends programs that have no handler for it and is sent for that.
fn ends_programs(signal: SignalNumber) -> bool {
    let ends = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];
    ends.contains(&signal.number())
}
