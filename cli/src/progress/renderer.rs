//! What each way to show the book does, and how it is set.

use std::time::Duration;

use kiln_engine::ProgressEvent;

use super::book::Book;
use super::paint::Palette;
use crate::environment::Environment;
use crate::terminal;

/// How the book is shown.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Colours for terminals.
    pub(crate) palette: Palette,
    /// Lines of output shown below a running step.
    pub(crate) log_lines: usize,
    /// Whether step names are cut in plain mode.
    pub(crate) names: Names,
}

/// Whether long step names are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// Shown as they are.
    Whole,
    /// Cut to 72 characters.
    Cut,
}

impl Settings {
    /// Reads the settings from the environment.
    pub(crate) fn of(environment: &Environment) -> Self {
        let log_lines = environment
            .text("BUILDKIT_TTY_LOG_LINES")
            .and_then(|text| text.parse().ok());
        Self {
            palette: Palette::of(environment, terminal::stderr_is_terminal()),
            log_lines: log_lines.unwrap_or(6),
            names: match environment.text("PROGRESS_NO_TRUNC").as_deref() {
                Some("0") => Names::Cut,
                _ => Names::Whole,
            },
        }
    }
}

/// One way to show the book. Times are counted from the start of the build.
pub(super) trait Renderer: Send {
    /// Shows what `event` changed; the book has it already.
    fn event(&mut self, book: &Book, event: &ProgressEvent, at: Duration);

    /// Shows what changed with time alone.
    fn tick(&mut self, book: &Book, at: Duration);

    /// Shows everything for the last time.
    fn finish(&mut self, book: &Book, at: Duration);
}
