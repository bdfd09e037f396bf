//! The lines of a build on a terminal, redrawn in place.

use std::time::Duration;

use kiln_engine::{ProgressEvent, Stream};

use super::build_state::BuildState;
use super::redraw::LiveLines;
use super::renderer::{Renderer, Settings};
use super::tty_lines::{ShownSteps, tty_lines};
use crate::terminal;

/// Shows a build on the terminal behind standard error.
pub(crate) struct Tty {
    lines: LiveLines,
    settings: Settings,
}

impl Tty {
    /// Begins with no line drawn.
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            lines: LiveLines::new(Stream::Stderr),
            settings,
        }
    }
}

impl Renderer for Tty {
    fn event(&mut self, _: &BuildState, event: &ProgressEvent, _: Duration) {
        if let ProgressEvent::Warning { message } = event {
            let line = format!("WARNING: {message}");
            let line = self.settings.palette.warning.apply_to(line).to_string();
            self.lines
                .aside(|| terminal::tell_styled(&format!("{line}\n")));
        }
    }

    fn tick(&mut self, build: &BuildState, at: Duration) {
        let shown = ShownSteps::Fitting {
            log_lines: self.settings.log_lines,
        };
        let screen = terminal::TerminalSize::of_stderr();
        let lines = tty_lines(build, at, screen, &self.settings.palette, shown);
        self.lines.draw(&lines);
    }

    fn finish(&mut self, build: &BuildState, at: Duration) {
        self.lines.clear();
        let screen = terminal::TerminalSize::of_stderr();
        let lines = tty_lines(build, at, screen, &self.settings.palette, ShownSteps::All);
        // All lines together may be higher than the screen, so they are written and not drawn.
        terminal::tell_styled(&format!("{}\n", lines.join("\n")));
    }
}
