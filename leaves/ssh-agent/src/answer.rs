//! What an agent says: another agent is asked, or keys answer.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use kiln_threads::Stop;
use rustix::event::{PollFd, PollFlags, poll};

use crate::keyring::Keyring;
use crate::protocol::{self, LONGEST, Request};

/// How long the other side may leave our bytes unread.
const PATIENCE: Duration = Duration::from_secs(10);

/// Something that lists public keys and signs with the private ones.
#[derive(Debug)]
pub enum Agent {
    /// The agent that listens on this socket, which is not touched before a client asks something.
    Socket(PathBuf),
    /// Private keys that this process has read.
    Keys(Keyring),
}

impl Agent {
    /// Serves one client until it goes or somebody asks to stop.
    pub(crate) fn serve(&self, client: &UnixStream, stop: &Stop) -> io::Result<()> {
        client.set_write_timeout(Some(PATIENCE))?;
        let mut agent = None;
        while let Some(message) = receive(client, stop)? {
            let answer = match (Request::parse(&message), self) {
                (None, _) => protocol::failure(),
                (Some(request), Self::Keys(keyring)) => keyring.answer(&request),
                (Some(_), Self::Socket(path)) => {
                    let agent = match &agent {
                        Some(agent) => agent,
                        None => agent.insert(connect(path)?),
                    };
                    { agent }.write_all(&protocol::framed(&message)?)?;
                    receive(agent, stop)?.ok_or(io::ErrorKind::UnexpectedEof)?
                }
            };
            { client }.write_all(&protocol::framed(&answer)?)?;
        }
        Ok(())
    }
}

fn connect(path: &PathBuf) -> io::Result<UnixStream> {
    let agent = UnixStream::connect(path)?;
    agent.set_write_timeout(Some(PATIENCE))?;
    Ok(agent)
}

/// Reads a message without its length; none if the other side is gone or somebody asked to stop.
fn receive(stream: &UnixStream, stop: &Stop) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    if !read_exact(stream, &mut length, stop)? {
        return Ok(None);
    }
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; length];
    Ok(read_exact(stream, &mut message, stop)?.then_some(message))
}

/// Fills a buffer; says whether it could before the other side went or somebody asked to stop.
fn read_exact(mut stream: &UnixStream, mut buffer: &mut [u8], stop: &Stop) -> io::Result<bool> {
    while !buffer.is_empty() {
        let mut events = [
            PollFd::new(stream, PollFlags::IN),
            PollFd::from_borrowed_fd(stop.pollable()?, PollFlags::IN),
        ];
        match poll(&mut events, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if !events[1].revents().is_empty() {
            return Ok(false);
        }
        if events[0].revents().is_empty() {
            continue;
        }
        match stream.read(buffer)? {
            0 => return Ok(false),
            count => buffer = &mut buffer[count..],
        }
    }
    Ok(true)
}
