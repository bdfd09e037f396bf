//! Everything that may happen while a container runs: output, input, requests, signals, its end.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use super::control::{Answer, Listener, Request};
use super::farewell::Farewell;
use super::held::Held;
use super::input::Input;
use super::log::LogWriter;
use super::monitor::{Attachment, Departure};
use super::outlet::{AT_ONCE_BYTES, Outlet};
use super::state::State;
use super::{SignalNumber, Signals};
use crate::executor::{Ended, OurStreams, Read, Report, Running, is_readable, winsize};
use crate::{Stream, WindowSize, sys};

/// What a running container's monitor watches, and what it needs to act on what happens.
pub(super) struct Watch<'w, 'a> {
    pub(super) listener: &'w mut Listener,
    pub(super) log: &'w mut LogWriter,
    pub(super) attachment: &'w mut Attachment<'a>,
    pub(super) outlet: &'w mut Outlet,
    pub(super) held: &'w mut Held,
    pub(super) state: &'w mut State,
    pub(super) farewell: Farewell<'w>,
}

/// What became readable or writable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Output(Stream),
    /// What a stream's output has to wait for.
    Outlet(Stream),
    Ended,
    Report,
    /// A call that is for kiln to answer.
    Socket,
    Request,
    Input,
    Room,
    Signal,
    /// It was asked to end and has not.
    Impatience,
}

impl Watch<'_, '_> {
    pub(super) fn until_end(
        mut self,
        running: &mut Running,
        started: impl FnOnce(&State),
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
                    Event::Outlet(stream) => self.outlet.clear(stream),
                    Event::Output(stream) => {
                        if self.outlet.is_clear(self.attachment, stream)?
                            && !self.pass_on(running, stream, &mut buffer)?
                        {
                            open.retain(|other| *other != stream);
                        }
                    }
                    Event::Report => self.hear(running, &mut report, &mut started)?,
                    Event::Socket => running.sockets.answer(&running.groups),
                    Event::Request => {
                        let running = &*running;
                        self.listener.serve(|request| answer(running, request));
                    }
                    Event::Input => input.read(),
                    Event::Room => input.write(running),
                    Event::Signal => self.pass_signal_on(running),
                    Event::Impatience => running.process.kill(),
                    Event::Ended => {
                        let status = running.process.reap()?;
                        for &stream in &open {
                            running.streams.read_rest(stream, &mut buffer, |bytes| {
                                self.log.write(stream, bytes);
                                self.attachment.output.is_none() || self.outlet.keep(stream, bytes)
                            })?;
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
    fn hear<F: FnOnce(&State)>(
        &mut self,
        running: &mut Running,
        report: &mut Report,
        started: &mut Option<F>,
    ) -> Result<(), Errno> {
        if report.read(&running.report, &mut running.sockets)? {
            return Ok(());
        }
        if let (false, Some(started)) = (report.is_failure(), started.take()) {
            // There is room for it; whatever else is wrong with the disk need not end the container.
            let _ = self.held.write_state(self.state);
            started(self.state);
        }
        Ok(())
    }

    /// Waits until something happens.
    fn wait(
        &mut self,
        running: &Running,
        open: &[Stream],
        input: &Input<'_>,
        starting: bool,
    ) -> Result<Vec<Event>, Errno> {
        let mut watched: Vec<(Event, BorrowedFd<'_>, PollFlags)> = open
            .iter()
            .map(|&stream| match self.outlet.full(self.attachment, stream) {
                Some(outlet) => (Event::Outlet(stream), outlet, PollFlags::OUT),
                None => (
                    Event::Output(stream),
                    running.streams.output(stream),
                    PollFlags::IN,
                ),
            })
            .collect();
        if starting {
            watched.push((Event::Report, running.report.as_fd(), PollFlags::IN));
        }
        if let Some(listener) = running.sockets.listener() {
            watched.push((Event::Socket, listener, PollFlags::IN));
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
        let patience = self.farewell.patience();
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut events, patience.as_ref()))?;
        if self.farewell.is_over() {
            return Ok(vec![Event::Impatience]);
        }
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
        let most = match self.attachment.outlets {
            Some(_) => AT_ONCE_BYTES,
            None => buffer.len(),
        };
        let read = running.streams.read(stream, &mut buffer[..most])?;
        if let Read::Bytes(bytes) = read {
            self.log.write(stream, bytes);
            if let Some(output) = &mut self.attachment.output
                && let Err(error) = output(stream, bytes)
            {
                self.attachment.output = None;
                self.farewell.say(running, Departure::Output(stream, error));
            }
        }
        Ok(read != Read::End)
    }

    fn pass_signal_on(&mut self, running: &Running) {
        let Some(signal) = self.attachment.signals.and_then(Signals::next) else {
            return;
        };
        if self.farewell.is_asked_too_often(signal) {
            self.farewell.say(running, Departure::Asked);
            return;
        }
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

pub(super) fn send(process: &OwnedFd, signal: SignalNumber) -> Result<(), Errno> {
    sys::send_signal(process.as_fd(), signal.number())
}
