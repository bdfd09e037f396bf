//! The monitor's end of its connections.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

use crate::requests::{
    LastWords, MonitorAnswer, MonitorRequest, SOCKET_NAME, short_name, write_line,
};

/// Requests are short; a client that sends more is cut off.
const LONGEST_REQUEST_BYTES: usize = 4096;

/// Descriptors that may wait for their requests; one comes with each.
const MOST_DESCRIPTORS: usize = 4;

/// The monitor's end of its connections.
#[derive(Debug)]
pub(crate) struct Listener {
    listener: UnixListener,
    connections: Vec<Connection>,
}

#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    line: Vec<u8>,
    /// What came along with requests that are not read yet.
    descriptors: VecDeque<OwnedFd>,
    waits_for_start: bool,
    is_open: bool,
}

/// How a request is answered.
pub(crate) enum MonitorReply {
    Now(MonitorAnswer),
    /// By [`Listener::announce`].
    WhenStarted,
}

impl Listener {
    /// Listens in a container's directory. `starter` is connected already.
    pub(crate) fn bind(directory: &Path, starter: UnixStream) -> io::Result<Self> {
        let held = File::open(directory)?;
        match fs::remove_file(directory.join(SOCKET_NAME)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(short_name(&held))?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            connections: vec![Connection::new(starter)?],
        })
    }

    /// Returns what to watch for requests.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let open = self.connections.iter().filter(|c| c.is_open);
        std::iter::once(self.listener.as_fd()).chain(open.map(|c| c.stream.as_fd()))
    }

    /// Waits for requests and has them answered, until one is answered when the container has
    /// started. Returns false if all clients have hung up before that.
    pub(crate) fn await_start(
        &mut self,
        mut answer: impl FnMut(MonitorRequest, Option<OwnedFd>) -> MonitorReply,
    ) -> io::Result<bool> {
        loop {
            self.serve(&mut answer);
            if self.connections.iter().any(|c| c.waits_for_start) {
                return Ok(true);
            }
            if self.connections.is_empty() {
                return Ok(false);
            }
            let mut events: Vec<_> = self
                .descriptors()
                .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
                .collect();
            rustix::io::retry_on_intr(|| rustix::event::poll(&mut events, None))?;
        }
    }

    /// Answers the clients that wait for the start.
    pub(crate) fn announce(&mut self, answer: &MonitorAnswer) {
        for connection in &mut self.connections {
            if std::mem::take(&mut connection.waits_for_start) {
                connection.is_open &= write_line(&connection.stream, answer).is_ok();
            }
        }
    }

    /// Tells the clients that are still connected what became of the container, and hangs up.
    pub(crate) fn say_last(mut self, words: &LastWords) {
        // Clients that connected late are told too.
        self.serve(|_, _| MonitorReply::Now(MonitorAnswer::Done));
        for connection in &self.connections {
            // A client that does not read it finds the state on the disk.
            let _ = write_line(&connection.stream, words);
        }
    }

    /// Takes what has come and has each request answered.
    pub(crate) fn serve(
        &mut self,
        mut answer: impl FnMut(MonitorRequest, Option<OwnedFd>) -> MonitorReply,
    ) {
        while let Ok((stream, _)) = self.listener.accept() {
            self.connections.extend(Connection::new(stream));
        }
        for connection in &mut self.connections {
            connection.serve(&mut answer);
        }
        self.connections.retain(|connection| connection.is_open);
    }
}

impl Connection {
    fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            line: Vec::new(),
            descriptors: VecDeque::new(),
            waits_for_start: false,
            is_open: true,
        })
    }

    fn serve(&mut self, answer: &mut impl FnMut(MonitorRequest, Option<OwnedFd>) -> MonitorReply) {
        loop {
            match self.receive() {
                Ok(0) => self.is_open = false,
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return,
                Err(_) => self.is_open = false,
            }
            while let Some(end) = self.line.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.line.drain(..=end).collect();
                self.answer(&line, answer);
            }
            self.is_open &= self.line.len() <= LONGEST_REQUEST_BYTES;
            if !self.is_open {
                return;
            }
        }
    }

    fn answer(
        &mut self,
        line: &[u8],
        answer: &mut impl FnMut(MonitorRequest, Option<OwnedFd>) -> MonitorReply,
    ) {
        let reply = match serde_json::from_slice(line) {
            Ok(request) => {
                let descriptor = match request {
                    MonitorRequest::Attach { .. } => self.descriptors.pop_front(),
                    _ => None,
                };
                answer(request, descriptor)
            }
            Err(error) => MonitorReply::Now(MonitorAnswer::Failed(error.to_string())),
        };
        match reply {
            MonitorReply::Now(answer) => self.is_open &= write_line(&self.stream, &answer).is_ok(),
            MonitorReply::WhenStarted => self.waits_for_start = true,
        }
    }

    /// Reads what has come, and the descriptors that came along.
    fn receive(&mut self) -> Result<usize, Errno> {
        let mut buffer = [0; 512];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut buffer)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let message = rustix::net::recvmsg(&self.stream, &mut slices, &mut ancillary, flags)?;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
        // One descriptor is enough for a request; any others are closed here.
        self.descriptors.truncate(MOST_DESCRIPTORS);
        self.line.extend_from_slice(&buffer[..message.bytes]);
        Ok(message.bytes)
    }
}
