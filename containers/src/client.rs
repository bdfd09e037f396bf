//! Another process's end of a connection to a monitor.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use serde::de::DeserializeOwned;

use crate::requests::{LastWords, MonitorAnswer, MonitorRequest, line, short_name, write_line};

/// A connection to a monitor.
#[derive(Debug)]
pub(crate) struct MonitorClient {
    stream: BufReader<UnixStream>,
}

impl MonitorClient {
    /// Connects; none if no monitor listens.
    pub(crate) fn connect(directory: &Path) -> io::Result<Option<Self>> {
        let held = match File::open(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        match UnixStream::connect(short_name(&held)) {
            Ok(stream) => Ok(Some(Self::new(stream))),
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

    /// Takes a connection to a monitor.
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self {
            stream: BufReader::new(stream),
        }
    }

    /// Asks for something; none if the container ended instead of answering.
    pub(crate) fn ask(&mut self, request: &MonitorRequest) -> io::Result<Option<MonitorAnswer>> {
        match self.send(request) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(None),
            other => other?,
        }
        self.next_line()
    }

    /// Asks for something without waiting for the answer.
    pub(crate) fn send(&self, request: &MonitorRequest) -> io::Result<()> {
        write_line(self.stream.get_ref(), request)
    }

    /// As [`MonitorClient::send`]; a descriptor goes along.
    pub(crate) fn send_with(
        &self,
        request: &MonitorRequest,
        descriptor: BorrowedFd<'_>,
    ) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let descriptors = [descriptor];
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
        let line = line(request)?;
        let bytes = [IoSlice::new(&line)];
        let flags = SendFlags::NOSIGNAL;
        // The request is short, and the socket is empty: it is sent as a whole.
        rustix::io::retry_on_intr(|| {
            rustix::net::sendmsg(self.stream.get_ref(), &bytes, &mut ancillary, flags)
        })?;
        Ok(())
    }

    /// Waits for the answer to what was sent; none if the monitor ended instead.
    pub(crate) fn next_answer(&mut self) -> io::Result<Option<MonitorAnswer>> {
        self.next_line()
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

    /// Says whether a line was read already that was not returned yet.
    pub(crate) fn has_line(&self) -> bool {
        !self.stream.buffer().is_empty()
    }

    /// Reads what a container that has ended became of; none if its monitor was killed.
    pub(crate) fn last_words(&mut self) -> io::Result<Option<LastWords>> {
        self.next_line()
    }

    fn next_line<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => Ok(None),
            Ok(_) => Ok(Some(serde_json::from_str(&line)?)),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for MonitorClient {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.get_ref().as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::OwnedFd;

    use super::*;
    use crate::listener::{Listener, MonitorReply};
    use crate::{SignalNumber, StoredState};

    #[test]
    fn requests_are_answered_and_the_end_is_seen() {
        let scratch = kiln_testbed::Scratch::new();
        // Too long for a socket's address.
        let directory = scratch.join("x".repeat(120));
        fs::create_dir(&directory).unwrap();
        assert!(MonitorClient::connect(&directory).unwrap().is_none());
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut starter = MonitorClient::new(ours);
        let mut listener = Listener::bind(&directory, theirs).unwrap();
        let mut client = MonitorClient::connect(&directory).unwrap().unwrap();
        let (given, other_end) = UnixStream::pair().unwrap();
        let attach = MonitorRequest::Attach { input: true };
        starter.send_with(&attach, given.as_fd()).unwrap();
        drop(given);
        starter.send(&MonitorRequest::Start).unwrap();
        let mut got: Option<OwnedFd> = None;
        let has_started = listener.await_start(|request, descriptor| match request {
            MonitorRequest::Start => MonitorReply::WhenStarted,
            MonitorRequest::Attach { input: true } => {
                got = descriptor;
                MonitorReply::Now(MonitorAnswer::Done)
            }
            other => panic!("{other:?}"),
        });
        assert!(has_started.unwrap());
        rustix::io::write(got.unwrap(), b"x").unwrap();
        let mut byte = [0];
        assert_eq!(rustix::io::read(&other_end, &mut byte).unwrap(), 1);
        listener.announce(&MonitorAnswer::Started(StoredState::CREATED));
        assert_eq!(starter.next_answer().unwrap(), Some(MonitorAnswer::Done));
        let answer = starter.next_answer().unwrap();
        assert_eq!(answer, Some(MonitorAnswer::Started(StoredState::CREATED)));

        let server = std::thread::spawn(move || {
            let mut seen = Vec::new();
            while seen.len() < 2 {
                let mut events: Vec<_> = listener
                    .descriptors()
                    .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
                    .collect();
                rustix::event::poll(&mut events, None).unwrap();
                drop(events);
                listener.serve(|request, descriptor| {
                    assert!(descriptor.is_none());
                    seen.push(request);
                    MonitorReply::Now(MonitorAnswer::Done)
                });
            }
            listener.say_last(&LastWords {
                state: StoredState::CREATED,
                unwritten: None,
            });
            seen
        });
        let term = MonitorRequest::Signal(SignalNumber::TERM);
        assert_eq!(client.ask(&term).unwrap(), Some(MonitorAnswer::Done));
        assert!(!client.wait(Some(Duration::ZERO)).unwrap());
        assert_eq!(
            client.ask(&MonitorRequest::Wait).unwrap(),
            Some(MonitorAnswer::Done)
        );
        assert_eq!(server.join().unwrap(), [term, MonitorRequest::Wait]);
        for client in [&mut client, &mut starter] {
            assert!(client.wait(None).unwrap());
            let words = client.last_words().unwrap().unwrap();
            assert_eq!(words.state, StoredState::CREATED);
            assert_eq!(client.last_words().unwrap(), None);
        }
        assert_eq!(client.ask(&MonitorRequest::Wait).unwrap(), None);
        // A socket file without a listener, as a killed monitor leaves it.
        assert!(MonitorClient::connect(&directory).unwrap().is_none());
    }

    #[test]
    fn a_monitor_that_nobody_asks_to_start_learns_of_it() {
        let scratch = kiln_testbed::Scratch::new();
        let (starter, theirs) = UnixStream::pair().unwrap();
        let mut listener = Listener::bind(scratch.path(), theirs).unwrap();
        drop(starter);
        assert!(!listener.await_start(|_, _| unreachable!()).unwrap());
    }
}
