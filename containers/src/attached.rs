//! Clients that are attached to a container: they get its output, and may give it input.
//!
//! The monitor never waits when it writes to them, so a client that does not read holds up neither
//! requests nor the container's end. While a client has not taken all output, further output stays
//! in the container's pipe, as with Docker; the log has what was read. Clients that hang up are
//! forgotten.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use kiln_runtime::Stream;
use rustix::event::{PollFd, PollFlags};

use crate::frames::Framing;
use crate::input::Input;
use crate::requests::MonitorAnswer;

/// The clients that are attached to a container.
#[derive(Debug)]
pub(crate) struct AttachedClients {
    framing: Framing,
    clients: Vec<AttachedClient>,
}

#[derive(Debug)]
struct AttachedClient {
    socket: UnixStream,
    /// What it has not taken yet.
    pending: Vec<u8>,
    gives_input: bool,
    is_gone: bool,
}

impl AttachedClients {
    pub(crate) fn new(framing: Framing) -> Self {
        Self {
            framing,
            clients: Vec::new(),
        }
    }

    /// Attaches a client by the socket that came with its request; `input` says whether it gives
    /// input.
    pub(crate) fn admit(&mut self, socket: Option<OwnedFd>, gives_input: bool) -> MonitorAnswer {
        let joined = match socket {
            Some(socket) => self.join(UnixStream::from(socket), gives_input),
            None => Err(io::Error::other("no socket came along")),
        };
        match joined {
            Ok(()) => MonitorAnswer::Done,
            Err(error) => MonitorAnswer::Failed(error.to_string()),
        }
    }

    fn join(&mut self, socket: UnixStream, gives_input: bool) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        self.clients.push(AttachedClient {
            socket,
            pending: Vec::new(),
            gives_input,
            is_gone: false,
        });
        Ok(())
    }

    /// Says whether all clients have taken what they were given.
    pub(crate) fn has_taken_all(&self) -> bool {
        self.clients.iter().all(|client| client.pending.is_empty())
    }

    /// Gives output to all clients.
    pub(crate) fn give(&mut self, stream: Stream, bytes: &[u8]) {
        for client in &mut self.clients {
            self.framing.append(&mut client.pending, stream, bytes);
            client.write();
        }
        self.forget_those_who_left();
    }

    /// Returns what to watch: each client by its number. `takes_input` says whether there is room
    /// for their input.
    pub(crate) fn watched(
        &self,
        takes_input: bool,
    ) -> impl Iterator<Item = (usize, BorrowedFd<'_>, PollFlags)> {
        self.clients
            .iter()
            .enumerate()
            .map(move |(number, client)| {
                let mut flags = PollFlags::empty();
                flags.set(PollFlags::OUT, !client.pending.is_empty());
                flags.set(PollFlags::IN, client.gives_input && takes_input);
                // The kernel reports a client that hung up anyway.
                (number, client.socket.as_fd(), flags)
            })
    }

    /// Acts on what was seen of a client.
    pub(crate) fn attend(&mut self, number: usize, seen: PollFlags, input: &mut Input) {
        let Some(client) = self.clients.get_mut(number) else {
            return;
        };
        if seen.contains(PollFlags::OUT) {
            client.write();
        }
        let has_left = seen.intersects(PollFlags::HUP | PollFlags::ERR);
        if client.gives_input && (has_left || seen.contains(PollFlags::IN)) {
            client.read(input, has_left);
        }
        client.is_gone |= has_left;
    }

    /// Forgets clients that have left; the numbers of the others change.
    pub(crate) fn forget_those_who_left(&mut self) {
        self.clients.retain(|client| !client.is_gone);
    }

    /// Waits until all have taken what they were given, or have gone.
    pub(crate) fn wait_until_taken(mut self) {
        while !self.has_taken_all() {
            let mut events: Vec<PollFd<'_>> = self
                .clients
                .iter()
                .map(|client| PollFd::new(&client.socket, PollFlags::OUT))
                .collect();
            let waited = rustix::io::retry_on_intr(|| rustix::event::poll(&mut events, None));
            drop(events);
            if waited.is_err() {
                return;
            }
            self.clients.iter_mut().for_each(AttachedClient::write);
            self.clients
                .retain(|client| !client.is_gone && !client.pending.is_empty());
        }
    }
}

impl AttachedClient {
    /// Writes as much as goes without waiting.
    fn write(&mut self) {
        let mut written = 0;
        while written < self.pending.len() {
            match (&self.socket).write(&self.pending[written..]) {
                Ok(more) => written += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.is_gone = true;
                    break;
                }
            }
        }
        self.pending.drain(..written);
        if self.is_gone {
            self.pending.clear();
        }
    }

    /// Reads input: once, or all that a client sent before it left.
    fn read(&mut self, input: &mut Input, has_left: bool) {
        let mut buffer = [0; 4096];
        loop {
            match (&self.socket).read(&mut buffer) {
                Ok(length) if length > 0 => {
                    input.pending.extend_from_slice(&buffer[..length]);
                    if has_left {
                        continue;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Its input ends, and so does the container's.
                Ok(_) | Err(_) => {
                    self.gives_input = false;
                    input.end();
                }
            }
            return;
        }
    }
}
