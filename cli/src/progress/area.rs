//! Lines at the end of a terminal's text, drawn anew in place.
//!
//! Each drawing is one write, so that nothing flickers. The cursor rests below the lines, where a
//! line begins: what the terminal itself shows there, such as the `^C` of a person who has seen
//! enough, takes it to no other line, and goes with the next drawing.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use console::measure_text_width;

use crate::terminal::{self, Screen};

/// As often as people can read.
const INTERVAL: Duration = Duration::from_millis(100);

/// Where lines are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The terminal behind standard output.
    Output,
    /// The terminal behind standard error.
    Error,
}

/// What is drawn at the moment.
#[derive(Debug)]
pub(crate) struct Area {
    place: Place,
    /// How wide each line is, in columns.
    widths: Vec<usize>,
    drawn: Option<Instant>,
}

impl Area {
    /// Begins with nothing.
    pub(crate) fn new(place: Place) -> Self {
        Self {
            place,
            widths: Vec::new(),
            drawn: None,
        }
    }

    /// Says whether lines that change with every piece of something may be drawn again yet.
    pub(crate) fn is_due(&self) -> bool {
        self.drawn.is_none_or(|drawn| drawn.elapsed() >= INTERVAL)
    }

    /// Draws lines in place of those that are there; the last ones, if the screen has no room for all.
    pub(crate) fn draw<T: AsRef<str>>(&mut self, lines: &[T]) {
        let screen = match self.place {
            Place::Output => Screen::of_stdout(),
            Place::Error => Screen::of_stderr(),
        };
        let text = self.redraw(lines, screen);
        self.drawn = Some(Instant::now());
        match self.place {
            // Progress that cannot be shown must not fail what it is about.
            Place::Output => {
                let mut stdout = io::stdout().lock();
                let _ = stdout
                    .write_all(text.as_bytes())
                    .and_then(|()| stdout.flush());
            }
            Place::Error => terminal::order(&text),
        }
    }

    /// Takes the lines off the screen. Where none were drawn, the screen is somebody else's.
    pub(crate) fn clear(&mut self) {
        if self.drawn.is_some() {
            self.draw(&[""; 0]);
        }
    }

    /// Returns what makes a terminal replace the present lines.
    fn redraw<T: AsRef<str>>(&mut self, lines: &[T], screen: Screen) -> String {
        // Lines of a terminal that became narrower have been folded.
        let rows = |width: &usize| width.div_ceil(screen.width).max(1);
        let mut text = String::from("\r");
        match self.widths.iter().map(rows).sum() {
            0_usize => {}
            up => write!(text, "\x1b[{up}A").expect("a string takes everything"),
        }
        text.push_str(ERASE_BELOW);
        self.widths.clear();
        let mut room = screen.height.saturating_sub(1);
        let widths = lines.iter().map(|line| measure_text_width(line.as_ref()));
        let widths: Vec<usize> = widths.collect();
        let fitting = widths.iter().rev().take_while(|width| {
            let needed = rows(width);
            let fits = needed <= room;
            room = room.saturating_sub(needed);
            fits
        });
        let first = lines.len() - fitting.count();
        for line in &lines[first..] {
            text.push_str(line.as_ref());
            text.push('\n');
        }
        self.widths.extend(&widths[first..]);
        text
    }
}

/// From the cursor to the end of the screen. (ECMA-48, "ED")
const ERASE_BELOW: &str = "\x1b[J";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_replaced_where_they_stand() {
        let mut area = Area::new(Place::Error);
        let screen = |width, height| Screen { width, height };
        assert_eq!(
            area.redraw(&["one", "two"], screen(80, 24)),
            "\r\x1b[Jone\ntwo\n"
        );
        assert_eq!(
            area.redraw(&["three"], screen(80, 24)),
            "\r\x1b[2A\x1b[Jthree\n"
        );
        // What has colours is no wider for it, and a full line is one line.
        let full = format!("\x1b[32m{}\x1b[0m", "x".repeat(20));
        area.redraw(&[&full], screen(20, 24));
        assert_eq!(
            area.redraw(&[&full], screen(20, 24)),
            format!("\r\x1b[1A\x1b[J{full}\n")
        );
        // The terminal became narrower, and then low.
        assert_eq!(
            area.redraw(&["1", "2", "3"], screen(19, 24)),
            "\r\x1b[2A\x1b[J1\n2\n3\n"
        );
        assert_eq!(
            area.redraw(&["1", "2", "3"], screen(19, 3)),
            "\r\x1b[3A\x1b[J2\n3\n"
        );
        assert_eq!(area.redraw(&[""; 0], screen(19, 3)), "\r\x1b[2A\x1b[J");
    }
}
