//! A picture, redrawn in place ten times a second.
//!
//! indicatif writes each redraw in one go, so nothing flickers. It is given the whole picture as
//! one bar: with a bar per line, a redraw could show half of a change.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use kiln_engine::Event;

use super::picture::{Extent, picture};
use super::{Book, Renderer, Settings};
use crate::terminal;

/// Shows a picture on the terminal behind standard error.
pub(crate) struct Screen {
    bar: ProgressBar,
    settings: Settings,
}

impl Screen {
    /// Begins with an empty picture.
    pub(crate) fn new(settings: Settings) -> Self {
        // Twice our own rate: what is drawn is decided here, not there.
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(20));
        let style = ProgressStyle::with_template("{msg}").expect("the template is fixed");
        bar.set_style(style);
        Self { bar, settings }
    }
}

impl Renderer for Screen {
    fn event(&mut self, _: &Book, event: &Event, _: Duration) {
        if let Event::Warning { message } = event {
            let line = format!("WARNING: {message}");
            let line = self.settings.palette.warning.apply_to(line).to_string();
            self.bar
                .suspend(|| terminal::tell_styled(&format!("{line}\n")));
        }
    }

    fn tick(&mut self, book: &Book, at: Duration) {
        let extent = Extent::Running {
            log_lines: self.settings.log_lines,
        };
        let screen = terminal::Screen::of_stderr();
        let lines = picture(book, at, screen, &self.settings.palette, extent);
        self.bar.set_message(lines.join("\n"));
    }

    fn finish(&mut self, book: &Book, at: Duration) {
        self.bar.finish_and_clear();
        let screen = terminal::Screen::of_stderr();
        let lines = picture(book, at, screen, &self.settings.palette, Extent::Finished);
        // The whole picture may be higher than the screen, so it is written and not drawn.
        terminal::tell_styled(&format!("{}\n", lines.join("\n")));
    }
}
