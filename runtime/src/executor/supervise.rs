//! Carries a job's output and waits for its end.

use std::io;

use kiln_threads::Stop;
use rustix::event::{PollFd, PollFlags};

use super::output::JobOutput;
use super::running::{ProcessEnd, Running};
use super::streams::Read;
use crate::{ExecError, JobOutcome, Stream};

/// The default capacity of a pipe.
const CHUNK_BYTES: usize = 64 << 10;

/// Runs a started job to its end.
pub(super) fn supervise(
    mut running: Running,
    output: &mut dyn JobOutput,
    stop: &Stop,
) -> Result<JobOutcome, ExecError> {
    match watch(&mut running, output, stop) {
        Ok((_, true)) => running.finish_cancelled(),
        Ok((ended, false)) => running.finish(ended),
        Err(error) => Err(running.abandon(error)),
    }
}

fn watch(
    running: &mut Running,
    output: &mut dyn JobOutput,
    stop: &Stop,
) -> io::Result<(ProcessEnd, bool)> {
    let mut cancelled = false;
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut open = vec![Stream::Stdout, Stream::Stderr];
    if running.has_terminal() {
        open.pop();
    }
    loop {
        let mut events: Vec<PollFd<'_>> = open
            .iter()
            .map(|stream| running.output(*stream))
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        events.push(PollFd::from_borrowed_fd(running.end(), PollFlags::IN));
        let [reports, listens] = [running.report(), running.calls()].map(|source| {
            events.extend(source.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
            source.is_some()
        });
        if !cancelled {
            events.push(PollFd::from_borrowed_fd(stop.pollable()?, PollFlags::IN));
        }
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut events, None))?;
        let ready: Vec<bool> = events.iter().map(|e| !e.revents().is_empty()).collect();
        drop(events);
        let streams = open.len();
        let mut over = Vec::new();
        for (&stream, _) in open.iter().zip(&ready).filter(|(_, ready)| **ready) {
            match running.read(stream, &mut buffer)? {
                Read::Bytes(bytes) => output.chunk(stream, bytes),
                Read::Nothing => {}
                Read::End => over.push(stream),
            }
        }
        open.retain(|stream| !over.contains(stream));
        let mut rest = ready[streams..].iter().copied();
        let ended = rest.next().unwrap_or(false);
        if reports && rest.next().unwrap_or(false) {
            running.read_report()?;
        }
        if listens && rest.next().unwrap_or(false) {
            running.answer_call();
        }
        if !cancelled && rest.next().unwrap_or(false) {
            running.kill();
            cancelled = true;
        }
        if ended {
            break;
        }
    }
    let ended = running.reap()?;
    // The end of a process namespace's first process is the end of all in it.
    for stream in open {
        running.read_rest(stream, &mut buffer, |bytes| {
            output.chunk(stream, bytes);
            true
        })?;
    }
    running.read_reports()?;
    Ok((ended, cancelled))
}
