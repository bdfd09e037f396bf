//! A line that says how far something long has got, for commands that have nothing else to say
//! meanwhile.
//!
//! On a terminal it is drawn over and over and is gone at the end; elsewhere there is a line every few
//! seconds. What is over sooner shows nothing.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::session::Session;
use crate::terminal;

/// What is over sooner needs no line.
const PATIENCE: Duration = Duration::from_millis(500);
/// Between two looks of a terminal.
const REDRAW: Duration = Duration::from_millis(100);
/// Between two lines elsewhere.
const INTERVAL: Duration = Duration::from_secs(5);

/// Shows how far something has got, until dropped.
#[derive(Debug)]
pub(crate) struct Activity {
    is_over: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Activity {
    /// Begins to show how many files are looked at, made or deleted.
    pub(crate) fn of_files(session: &Session, what: &'static str) -> Self {
        let counted = session.stores.counter();
        Self::show(what, move || (counted(), None))
    }

    /// Begins to show `what` is done, of which `done` tells the number so far and in all, if that is
    /// known.
    pub(crate) fn show(
        what: &'static str,
        done: impl Fn() -> (u64, Option<u64>) + Send + 'static,
    ) -> Self {
        let is_over = Arc::new((Mutex::new(false), Condvar::new()));
        let until = Arc::clone(&is_over);
        // Without a thread there is no line.
        let thread = thread::Builder::new()
            .name("kiln-activity".to_owned())
            .spawn(move || run(what, &done, &until))
            .ok();
        Self { is_over, thread }
    }
}

impl Drop for Activity {
    fn drop(&mut self) {
        let (is_over, changed) = &*self.is_over;
        *is_over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(
    what: &str,
    done: &dyn Fn() -> (u64, Option<u64>),
    (is_over, changed): &(Mutex<bool>, Condvar),
) {
    let begun = Instant::now();
    let is_terminal = terminal::stderr_is_terminal();
    let (mut next, interval) = if is_terminal {
        (PATIENCE, REDRAW)
    } else {
        (INTERVAL, INTERVAL)
    };
    let mut is_drawn = false;
    let mut guard = is_over.lock().unwrap_or_else(PoisonError::into_inner);
    while !*guard {
        let wait = next.saturating_sub(begun.elapsed());
        if !wait.is_zero() {
            let waited = changed.wait_timeout(guard, wait);
            guard = waited.unwrap_or_else(PoisonError::into_inner).0;
            continue;
        }
        let line = describe(what, done(), begun.elapsed());
        if is_terminal {
            terminal::order(&format!("\r{line}\x1b[K"));
            is_drawn = true;
        } else {
            terminal::tell_line(&line);
        }
        next = begun.elapsed() + interval;
    }
    if is_drawn {
        terminal::order("\r\x1b[K");
    }
}

fn describe(what: &str, (done, total): (u64, Option<u64>), took: Duration) -> String {
    let seconds = took.as_secs_f64();
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate for people"
    )]
    let rate = (done as f64 / seconds.max(0.001)) as u64;
    let of = total.map_or_else(String::new, |total| format!(" of {total}"));
    format!("{what}: {done}{of}, {rate}/s, {seconds:.1}s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_much_how_fast_and_how_long() {
        let took = Duration::from_millis(2500);
        assert_eq!(
            describe("verifying", (100, Some(400)), took),
            "verifying: 100 of 400, 40/s, 2.5s"
        );
        assert_eq!(describe("files", (0, None), took), "files: 0, 0/s, 2.5s");
    }

    #[test]
    fn an_activity_ends_when_it_is_dropped() {
        let asked = Arc::new(Mutex::new(0));
        let count = Arc::clone(&asked);
        let activity = Activity::show("never shown", move || {
            *count.lock().unwrap() += 1;
            (1, None)
        });
        drop(activity);
        assert_eq!(Arc::strong_count(&asked), 1);
    }
}
