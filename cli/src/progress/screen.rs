//! A picture, redrawn in place ten times a second.

use std::time::Duration;

use kiln_engine::ProgressEvent;

use super::area::{Area, Place};
use super::book::Book;
use super::picture::{Extent, picture};
use super::renderer::{Renderer, Settings};
use crate::terminal;

/// Shows a picture on the terminal behind standard error.
pub(crate) struct Screen {
    area: Area,
    settings: Settings,
}

impl Screen {
    /// Begins with an empty picture.
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            area: Area::new(Place::Error),
            settings,
        }
    }
}

impl Renderer for Screen {
    fn event(&mut self, _: &Book, event: &ProgressEvent, _: Duration) {
        if let ProgressEvent::Warning { message } = event {
            let line = format!("WARNING: {message}");
            let line = self.settings.palette.warning.apply_to(line).to_string();
            self.area
                .aside(|| terminal::tell_styled(&format!("{line}\n")));
        }
    }

    fn tick(&mut self, book: &Book, at: Duration) {
        let extent = Extent::Running {
            log_lines: self.settings.log_lines,
        };
        let screen = terminal::Screen::of_stderr();
        let lines = picture(book, at, screen, &self.settings.palette, extent);
        self.area.draw(&lines);
    }

    fn finish(&mut self, book: &Book, at: Duration) {
        self.area.clear();
        let screen = terminal::Screen::of_stderr();
        let lines = picture(book, at, screen, &self.settings.palette, Extent::Finished);
        // The whole picture may be higher than the screen, so it is written and not drawn.
        terminal::tell_styled(&format!("{}\n", lines.join("\n")));
    }
}
