//! Everything that may happen while a container runs: output, input, requests, signals, its end.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::event::{PollFd, PollFlags};

use crate::Signals;
use crate::control::{Answer, Listener, Request};
use crate::farewell::Farewell;
use crate::held::Held;
use crate::input::Input;
use crate::log::LogWriter;
use crate::monitor::{Attachment, Departure};
use crate::outlet::{AT_ONCE_BYTES, Outlet};
use crate::state::State;
use kiln_runtime::{Ended, Read, Running, Stream, WindowSize};

/// What a running container's monitor watches, and what it needs to act on what happens.
pub(crate) struct Watch<'w, 'a> {
    pub(crate) listener: &'w mut Listener,
    pub(crate) log: &'w mut LogWriter,
    pub(crate) attachment: &'w mut Attachment<'a>,
    pub(crate) outlet: &'w mut Outlet,
    pub(crate) held: &'w mut Held,
    pub(crate) state: &'w mut State,
    pub(crate) farewell: Farewell<'w>,
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
    Call,
    Request,
    Input,
    Room,
    Signal,
    /// It was asked to end and has not.
    Impatience,
}

impl Watch<'_, '_> {
    pub(crate) fn until_end(
        mut self,
        running: &mut Running,
        started: impl FnOnce(&State),
    ) -> io::Result<Ended> {
        let mut started = Some(started);
        let mut input = Input::new(running, self.attachment.input);
        let mut open = vec![Stream::Stdout, Stream::Stderr];
        if running.has_terminal() {
            open.pop();
        }
        let mut buffer = vec![0; 64 << 10];
        loop {
            if input.is_over() {
                running.close_input();
            }
            let events = self.wait(running, &open, &input)?;
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
                    Event::Report => {
                        running.hear()?;
                        self.see_start(running, &mut started);
                    }
                    Event::Call => running.answer_call(),
                    Event::Request => {
                        let running = &*running;
                        self.listener.serve(|request| answer(running, request));
                    }
                    Event::Input => input.read(),
                    Event::Room => input.write(running),
                    Event::Signal => self.pass_signal_on(running),
                    Event::Impatience => running.kill(),
                    Event::Ended => {
                        let ended = running.reap()?;
                        for &stream in &open {
                            running.read_rest(stream, &mut buffer, |bytes| {
                                self.log.write(stream, bytes);
                                self.attachment.output.is_none() || self.outlet.keep(stream, bytes)
                            })?;
                        }
                        running.hear_all()?;
                        self.see_start(running, &mut started);
                        return Ok(ended);
                    }
                }
            }
        }
    }

    /// Notes, once, that the process has become the program. The end of its report is that, unless
    /// it reported a failure.
    fn see_start<F: FnOnce(&State)>(&mut self, running: &Running, started: &mut Option<F>) {
        if running.report().is_some() || running.has_failed() {
            return;
        }
        if let Some(started) = started.take() {
            // There is room for it; whatever else is wrong with the disk need not end the container.
            let _ = self.held.write_state(self.state);
            started(self.state);
        }
    }

    /// Waits until something happens.
    fn wait(
        &mut self,
        running: &Running,
        open: &[Stream],
        input: &Input<'_>,
    ) -> io::Result<Vec<Event>> {
        let mut watched: Vec<(Event, BorrowedFd<'_>, PollFlags)> = open
            .iter()
            .map(|&stream| match self.outlet.full(self.attachment, stream) {
                Some(outlet) => (Event::Outlet(stream), outlet, PollFlags::OUT),
                None => (Event::Output(stream), running.output(stream), PollFlags::IN),
            })
            .collect();
        if let Some(report) = running.report() {
            watched.push((Event::Report, report, PollFlags::IN));
        }
        if let Some(calls) = running.calls() {
            watched.push((Event::Call, calls, PollFlags::IN));
        }
        for descriptor in self.listener.descriptors() {
            watched.push((Event::Request, descriptor, PollFlags::IN));
        }
        if let Some(signals) = self.attachment.signals {
            watched.push((Event::Signal, signals.as_fd(), PollFlags::IN));
        }
        match (input.source, input.pending.is_empty(), running.input()) {
            (Some(source), true, Some(_)) => watched.push((Event::Input, source, PollFlags::IN)),
            (_, false, Some(target)) => watched.push((Event::Room, target, PollFlags::OUT)),
            _ => {}
        }
        // Last, so that what was written before the end is seen before it.
        watched.push((Event::Ended, running.end(), PollFlags::IN));
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
    ) -> io::Result<bool> {
        let most = match self.attachment.outlets {
            Some(_) => AT_ONCE_BYTES,
            None => buffer.len(),
        };
        let read = running.read(stream, &mut buffer[..most])?;
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
        Request::Signal(signal) => running.send_signal(signal.number()),
        Request::Resize(size) => running.resize(size),
    };
    match result {
        Ok(()) => Answer::Done,
        Err(error) => Answer::Failed(error.to_string()),
    }
}
