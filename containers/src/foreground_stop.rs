//! Stops a container in the foreground whose output cannot be written any more.
//!
//! As in `yes | head -1`: the user would never see what it goes on to write. So it gets its stop
//! signal, as with `stop`, and is killed when its time is over: at once if it has no handler for
//! that signal.

use std::time::{Duration, Instant};

use rustix::event::Timespec;

use crate::{Container, SignalNumber, Spec};

/// Docker's client leaves when it is asked for the third time.
const REQUESTS: u32 = 3;

/// How far stopping the container has come.
pub(crate) struct ForegroundStop<'c> {
    container: &'c Container,
    stop_signal: SignalNumber,
    stop_timeout: Duration,
    deadline: Option<Instant>,
    requests: u32,
}

impl<'c> ForegroundStop<'c> {
    pub(crate) fn new(container: &'c Container, spec: &Spec) -> Self {
        Self {
            container,
            stop_signal: spec.stop_signal(),
            stop_timeout: spec.stop_timeout(),
            deadline: None,
            requests: 0,
        }
    }

    /// Asks the container to end, or kills it. `process` is its first one.
    pub(crate) fn ask(&mut self, process: Option<u32>) {
        let listens = process.is_none_or(|process| catches(process, self.stop_signal));
        if listens && self.container.kill(self.stop_signal).is_ok() {
            self.deadline = Instant::now().checked_add(self.stop_timeout);
        } else {
            self.kill();
        }
    }

    /// Kills the container.
    pub(crate) fn kill(&self) {
        // If it does not run, that is what is wanted.
        let _ = self.container.kill(SignalNumber::KILL);
    }

    /// Counts a signal; says whether its sender has lost patience.
    pub(crate) fn is_asked_too_often(&mut self, signal: SignalNumber) -> bool {
        if [libc::SIGINT, libc::SIGTERM].contains(&signal.number()) {
            self.requests += 1;
        }
        self.requests >= REQUESTS
    }

    /// Returns how long to wait for something else to happen; none is for ever.
    pub(crate) fn patience(&self) -> Option<Timespec> {
        let left = self.deadline?.saturating_duration_since(Instant::now());
        Some(Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        })
    }

    /// Says, once, whether the container's time is over.
    pub(crate) fn is_over(&mut self) -> bool {
        let is_over = self.deadline.is_some_and(|end| end <= Instant::now());
        if is_over {
            self.deadline = None;
        }
        is_over
    }
}

/// Says whether a process has a handler for a signal: the first process of a namespace never gets
/// one that it has none for. A process that cannot be looked at is taken to have one.
fn catches(process: u32, signal: SignalNumber) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    caught.is_none_or(|mask| mask & (1 << (signal.number() - 1)) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_handlers_count_as_listening() {
        let own = std::process::id();
        // The runtime of this language catches it to tell stack overflows.
        assert!(catches(own, "SEGV".parse().unwrap()));
        assert!(!catches(own, "USR2".parse().unwrap()));
    }
}
