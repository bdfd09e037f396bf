//! Everything that may happen while a container runs: output, input, requests, its end.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use kiln_runtime::{ProcessEnd, Read, Running, Stream};
use rustix::event::{PollFd, PollFlags};

use crate::attached::AttachedClients;
use crate::held::HeldContainer;
use crate::input::Input;
use crate::listener::{Listener, MonitorReply};
use crate::log::LogWriter;
use crate::requests::{MonitorAnswer, MonitorRequest};
use crate::state::StoredState;

/// What a running container's monitor watches, and what it needs to act on what happens.
pub(crate) struct Watch<'w> {
    pub(crate) listener: &'w mut Listener,
    pub(crate) log: &'w mut LogWriter,
    pub(crate) attached: &'w mut AttachedClients,
    pub(crate) held: &'w mut HeldContainer,
    pub(crate) state: &'w mut StoredState,
}

/// What became readable or writable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WatchEvent {
    Output(Stream),
    /// A client that is attached, by number.
    Client(usize, PollFlags),
    Ended,
    Report,
    /// A call that is for kiln to answer.
    Call,
    Request,
    Room,
}

impl Watch<'_> {
    pub(crate) fn until_end(mut self, running: &mut Running) -> io::Result<ProcessEnd> {
        Input::prepare(running);
        let mut input = Input::default();
        let mut is_starting = true;
        let mut open = vec![Stream::Stdout, Stream::Stderr];
        if running.has_terminal() {
            open.pop();
        }
        let mut buffer = vec![0; 64 << 10];
        loop {
            if input.is_over() {
                running.close_input();
            }
            for event in self.wait(running, &open, &input)? {
                match event {
                    WatchEvent::Output(stream) => {
                        if !self.pass_on(running, stream, &mut buffer)? {
                            open.retain(|other| *other != stream);
                        }
                    }
                    WatchEvent::Client(number, seen) => {
                        self.attached.attend(number, seen, &mut input);
                    }
                    WatchEvent::Report => {
                        running.read_report()?;
                        self.see_start(running, &mut is_starting);
                    }
                    WatchEvent::Call => running.answer_call(),
                    WatchEvent::Request => self.serve(running),
                    WatchEvent::Room => input.write(running),
                    WatchEvent::Ended => {
                        let ended = running.reap()?;
                        for &stream in &open {
                            running.read_rest(stream, &mut buffer, |bytes| {
                                self.log.write(stream, bytes);
                                self.attached.give(stream, bytes);
                                true
                            })?;
                        }
                        running.read_reports()?;
                        self.see_start(running, &mut is_starting);
                        return Ok(ended);
                    }
                }
            }
            self.attached.forget_those_who_left();
        }
    }

    /// Notes, once, that the process has become the program. The end of its report is that, unless
    /// it reported a failure.
    fn see_start(&mut self, running: &Running, is_starting: &mut bool) {
        if !*is_starting || running.report().is_some() || running.has_failed() {
            return;
        }
        *is_starting = false;
        // There is room for it; no other failure of the disk need end the container.
        let _ = self.held.write_state(self.state);
        self.listener
            .announce(&MonitorAnswer::Started(self.state.clone()));
    }

    /// Waits until something happens.
    fn wait(
        &mut self,
        running: &Running,
        open: &[Stream],
        input: &Input,
    ) -> io::Result<Vec<WatchEvent>> {
        let mut watched: Vec<(WatchEvent, BorrowedFd<'_>, PollFlags)> = Vec::new();
        if self.attached.has_taken_all() {
            watched.extend(open.iter().map(|&stream| {
                (
                    WatchEvent::Output(stream),
                    running.output(stream),
                    PollFlags::IN,
                )
            }));
        }
        for (number, client, flags) in self.attached.watched(input.has_room()) {
            watched.push((WatchEvent::Client(number, flags), client, flags));
        }
        if let Some(report) = running.report() {
            watched.push((WatchEvent::Report, report, PollFlags::IN));
        }
        if let Some(calls) = running.calls() {
            watched.push((WatchEvent::Call, calls, PollFlags::IN));
        }
        for descriptor in self.listener.descriptors() {
            watched.push((WatchEvent::Request, descriptor, PollFlags::IN));
        }
        if let (false, Some(target)) = (input.has_room(), running.input()) {
            watched.push((WatchEvent::Room, target, PollFlags::OUT));
        }
        // Last, so that what was written before the end is seen before it.
        watched.push((WatchEvent::Ended, running.end(), PollFlags::IN));
        let mut events: Vec<PollFd<'_>> = watched
            .iter()
            .map(|(_, fd, flags)| PollFd::from_borrowed_fd(*fd, *flags))
            .collect();
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut events, None))?;
        let mut happened: Vec<WatchEvent> = watched
            .iter()
            .zip(&events)
            .filter(|(_, event)| !event.revents().is_empty())
            .map(|((event, ..), seen)| match event {
                WatchEvent::Client(number, _) => WatchEvent::Client(*number, seen.revents()),
                other => *other,
            })
            .collect();
        happened.dedup();
        Ok(happened)
    }

    /// Reads output once and passes it on; says whether more may come.
    fn pass_on(
        &mut self,
        running: &Running,
        stream: Stream,
        buffer: &mut [u8],
    ) -> io::Result<bool> {
        let read = running.read(stream, buffer)?;
        if let Read::Bytes(bytes) = read {
            // The log first: it never waits.
            self.log.write(stream, bytes);
            self.attached.give(stream, bytes);
        }
        Ok(read != Read::End)
    }

    fn serve(&mut self, running: &Running) {
        let attached = &mut *self.attached;
        self.listener.serve(|request, descriptor| {
            MonitorReply::Now(answer(running, attached, request, descriptor))
        });
    }
}

fn answer(
    running: &Running,
    attached: &mut AttachedClients,
    request: MonitorRequest,
    descriptor: Option<OwnedFd>,
) -> MonitorAnswer {
    let result = match request {
        MonitorRequest::Start => Err(io::Error::other("it is already running")),
        MonitorRequest::Attach { input } => return attached.admit(descriptor, input),
        MonitorRequest::Wait => Ok(()),
        MonitorRequest::Signal(signal) => running.send_signal(signal.number()),
        MonitorRequest::Resize(size) => running.resize(size),
    };
    match result {
        Ok(()) => MonitorAnswer::Done,
        Err(error) => MonitorAnswer::Failed(error.to_string()),
    }
}
