//! How other processes talk to a running container: a unix socket in its directory.
//!
//! They may be in other user namespaces, which have no power over the container's process, so they
//! ask its monitor. A request is one line of JSON and so is its answer; then the connection stays
//! open until the container has ended and its state is written, which makes its end an event to
//! wait for. The last line is that state: it may have been removed with the container.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use serde::{Deserialize, Serialize};

use crate::{SignalNumber, State};
use kiln_runtime::WindowSize;

/// The socket's name.
const NAME: &str = "control";

/// Requests are short; whoever sends more is cut off.
const LONGEST_REQUEST_BYTES: usize = 4096;

/// What a monitor can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Request {
    /// Send a signal to the container's first process.
    Signal(SignalNumber),
    /// Change the size of its terminal.
    Resize(WindowSize),
    /// Nothing; only the end is of interest.
    Wait,
}

/// What a monitor says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer {
    Done,
    Failed(String),
}

/// Returns a name of the socket that is short enough: `sun_path` has 108 bytes, a directory of
/// containers may be longer.
fn short_name(directory: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{NAME}", directory.as_raw_fd()))
}

/// The monitor's end.
#[derive(Debug)]
pub(crate) struct Listener {
    listener: UnixListener,
    connections: Vec<Connection>,
}

#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    line: Vec<u8>,
    is_open: bool,
}

impl Listener {
    pub(crate) fn bind(directory: &Path) -> io::Result<Self> {
        let held = File::open(directory)?;
        match fs::remove_file(directory.join(NAME)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(short_name(&held))?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            connections: Vec::new(),
        })
    }

    /// Returns what to watch for requests.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let open = self
            .connections
            .iter()
            .filter(|connection| connection.is_open);
        std::iter::once(self.listener.as_fd()).chain(open.map(|c| c.stream.as_fd()))
    }

    /// Tells everybody who is still there what became of the container, and hangs up.
    pub(crate) fn say_last(mut self, state: &State) {
        // Those who came late want to know too.
        self.serve(|_| Answer::Done);
        for connection in &mut self.connections {
            // Who does not read will find out from the disk.
            let _ = write_line(&mut connection.stream, state);
        }
    }

    /// Takes what has come and has each request answered.
    pub(crate) fn serve(&mut self, mut answer: impl FnMut(Request) -> Answer) {
        while let Ok((stream, _)) = self.listener.accept() {
            if stream.set_nonblocking(true).is_ok() {
                self.connections.push(Connection {
                    stream,
                    line: Vec::new(),
                    is_open: true,
                });
            }
        }
        for connection in &mut self.connections {
            connection.serve(&mut answer);
        }
        self.connections.retain(|connection| connection.is_open);
    }
}

impl Connection {
    fn serve(&mut self, answer: &mut impl FnMut(Request) -> Answer) {
        let mut buffer = [0; 512];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.is_open = false,
                Ok(length) => self.line.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.is_open = false,
            }
            while let Some(end) = self.line.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.line.drain(..=end).collect();
                let said = match serde_json::from_slice(&line) {
                    Ok(request) => answer(request),
                    Err(error) => Answer::Failed(error.to_string()),
                };
                self.is_open &= write_line(&mut self.stream, &said).is_ok();
            }
            self.is_open &= self.line.len() <= LONGEST_REQUEST_BYTES;
            if !self.is_open {
                return;
            }
        }
    }
}

fn write_line(stream: &mut UnixStream, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    stream.write_all(&line)
}

/// Another process's end.
#[derive(Debug)]
pub(crate) struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects; none if nobody listens.
    pub(crate) fn connect(directory: &Path) -> io::Result<Option<Self>> {
        let held = match File::open(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        match UnixStream::connect(short_name(&held)) {
            Ok(stream) => Ok(Some(Self {
                stream: BufReader::new(stream),
            })),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Asks for something; none if the container ended instead of answering.
    pub(crate) fn ask(&mut self, request: &Request) -> io::Result<Option<Answer>> {
        match write_line(self.stream.get_mut(), request) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(None),
            other => other?,
        }
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => Ok(None),
            Ok(_) => Ok(Some(serde_json::from_str(&line)?)),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Waits for the container's end; says whether it came in time. No timeout waits for ever.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> io::Result<bool> {
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let mut end = [PollFd::new(self.stream.get_ref(), PollFlags::IN)];
        // Nothing interrupts this but signals that end the process.
        let ready = rustix::io::retry_on_intr(|| rustix::event::poll(&mut end, timeout.as_ref()))?;
        Ok(ready > 0)
    }

    /// Reads what a container that has ended became of; none if its monitor was killed.
    pub(crate) fn last_words(&mut self) -> io::Result<Option<State>> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => Ok(None),
            Ok(_) => Ok(Some(serde_json::from_str(&line)?)),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_answered_and_the_end_is_seen() {
        let scratch = kiln_testbed::Scratch::new();
        // Too long for a socket's address.
        let directory = scratch.join("x".repeat(120));
        fs::create_dir(&directory).unwrap();
        assert!(Client::connect(&directory).unwrap().is_none());
        let mut listener = Listener::bind(&directory).unwrap();
        let mut client = Client::connect(&directory).unwrap().unwrap();
        let server = std::thread::spawn(move || {
            let mut seen = Vec::new();
            while seen.len() < 2 {
                let mut events: Vec<_> = listener
                    .descriptors()
                    .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
                    .collect();
                rustix::event::poll(&mut events, None).unwrap();
                drop(events);
                listener.serve(|request| {
                    seen.push(request);
                    Answer::Done
                });
            }
            listener.say_last(&State::CREATED);
            seen
        });
        let term = Request::Signal(SignalNumber::TERM);
        assert_eq!(client.ask(&term).unwrap(), Some(Answer::Done));
        assert!(!client.wait(Some(Duration::ZERO)).unwrap());
        assert_eq!(client.ask(&Request::Wait).unwrap(), Some(Answer::Done));
        assert_eq!(server.join().unwrap(), [term, Request::Wait]);
        assert!(client.wait(None).unwrap());
        assert_eq!(client.last_words().unwrap(), Some(State::CREATED));
        assert_eq!(client.last_words().unwrap(), None);
        assert_eq!(client.ask(&Request::Wait).unwrap(), None);
        // A socket file without a listener, as a killed monitor leaves it.
        assert!(Client::connect(&directory).unwrap().is_none());
    }
}
