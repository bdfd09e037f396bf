//! What a build looks like while it runs.
//!
//! Events arrive from any thread at [`Display`], which enters them in a [`BuildState`] and shows that
//! in one of four ways. A thread wakes ten times a second for what changes with time alone.

mod build_state; // what a build has told so far
mod log; // a step's output: from chunks of bytes to lines

mod palette; // the colours of what kiln writes to a terminal
mod redraw; // drawing on a terminal: lines replaced in place

mod renderer; // what each way to show a build does, and its settings

mod plain; // line after line
mod raw; // JSON for programs

mod tty_lines; // the layout of a build on a terminal

mod tty; // that layout, drawn

mod activity; // how far something has got that has nothing else to show
mod transfer; // pulls and pushes
mod unpacking; // layers before their first use

use std::io::{self, BufWriter};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use kiln_engine::{Progress, ProgressEvent};
use kiln_oci::Timestamp;

pub(crate) use activity::Activity;
pub(crate) use build_state::{BuildState, LintFinding, VertexState};
pub(crate) use palette::Palette;
pub(crate) use renderer::Settings;
pub(crate) use transfer::{TransferOutput, Transfers};
pub(crate) use tty_lines::seconds;
pub(crate) use unpacking::Unpacking;

use self::redraw::REDRAW_INTERVAL;
use self::renderer::Renderer;
use crate::terminal;

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Lines that are redrawn in place.
    Terminal,
    /// Line after line.
    Plain,
    /// Not at all.
    Quiet,
    /// One JSON object a line.
    RawJson,
}

/// Takes events and shows them.
pub(crate) struct Display {
    shared: Arc<Shared>,
    ticker: Option<JoinHandle<()>>,
}

struct Shared {
    begun: Instant,
    state: Mutex<DisplayState>,
    /// Signalled when the ticker is to end.
    ended: Condvar,
}

struct DisplayState {
    build: BuildState,
    renderer: Box<dyn Renderer>,
    is_over: bool,
}

impl Display {
    /// Begins to show a build.
    pub(crate) fn start(mode: Mode, settings: Settings) -> Self {
        let renderer: Box<dyn Renderer> = match mode {
            Mode::Terminal => Box::new(tty::Tty::new(settings)),
            Mode::Plain => Box::new(plain::Plain::new(standard_error(), settings.names)),
            Mode::Quiet => Box::new(Quiet),
            Mode::RawJson => Box::new(raw::RawJson::new(standard_error(), Timestamp::now())),
        };
        let shared = Arc::new(Shared {
            begun: Instant::now(),
            state: Mutex::new(DisplayState {
                build: BuildState::default(),
                renderer,
                is_over: false,
            }),
            ended: Condvar::new(),
        });
        let is_ticking = matches!(mode, Mode::Terminal | Mode::Plain);
        let ticker = is_ticking.then(|| {
            let shared = Arc::clone(&shared);
            thread::Builder::new().spawn(move || tick(&shared))
        });
        // Without a thread for it, only what happens moves the clock.
        let ticker = ticker.and_then(Result::ok);
        Self { shared, ticker }
    }

    /// Shows everything for the last time and returns what has happened.
    pub(crate) fn finish(mut self) -> BuildState {
        let mut state = self.shared.lock();
        let at = self.shared.begun.elapsed();
        let state_now = &mut *state;
        state_now.is_over = true;
        state_now.renderer.finish(&state_now.build, at);
        let build = std::mem::take(&mut state_now.build);
        drop(state);
        self.shared.ended.notify_all();
        if let Some(ticker) = self.ticker.take() {
            // A ticker that panicked has nothing more to show.
            let _ = ticker.join();
        }
        build
    }

    /// Returns a function that shows warnings amid the progress.
    pub(crate) fn warner(&self) -> crate::session::Warner {
        let shared = Arc::clone(&self.shared);
        Arc::new(move |message| {
            shared.take(ProgressEvent::Warning {
                message: message.to_owned(),
            });
        })
    }
}

impl Progress for Display {
    fn event(&self, event: ProgressEvent) {
        self.shared.take(event);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, DisplayState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, event: ProgressEvent) {
        let mut state = self.lock();
        let at = self.begun.elapsed();
        let DisplayState {
            build, renderer, ..
        } = &mut *state;
        build.take(&event, at);
        renderer.event(build, &event, at);
    }
}

fn tick(shared: &Shared) {
    let mut state = shared.lock();
    while !state.is_over {
        state = shared
            .ended
            .wait_timeout(state, REDRAW_INTERVAL)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
        let DisplayState {
            build,
            renderer,
            is_over,
        } = &mut *state;
        if !*is_over {
            renderer.tick(build, shared.begun.elapsed());
        }
    }
}

/// Returns standard error, written when a renderer flushes it.
fn standard_error() -> BufWriter<io::Stderr> {
    BufWriter::new(io::stderr())
}

/// Shows nothing.
struct Quiet;

impl Renderer for Quiet {
    fn event(&mut self, _: &BuildState, event: &ProgressEvent, _: Duration) {
        if let ProgressEvent::Warning { message } = event {
            terminal::warn(message);
        }
    }

    fn tick(&mut self, _: &BuildState, _: Duration) {}

    fn finish(&mut self, _: &BuildState, _: Duration) {}
}
