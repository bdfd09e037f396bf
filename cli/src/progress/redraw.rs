//! Lines at the end of a terminal's text, drawn anew in place.
//!
//! indicatif draws them, each time in one write, so that nothing flickers. It leaves the cursor at
//! the end of a full line; what the terminal itself shows there, such as the `^C` of a user who
//! interrupts, would go to the next line, and all lines with it. So an empty line is drawn
//! below them, and the cursor rests where it begins: what appears there goes with the next drawing.

use std::io;
use std::time::{Duration, Instant};

use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};
use kiln_engine::Stream;

/// Time between two drawings: as often as people can read, and seldom enough to cost nothing.
pub(crate) const REDRAW_INTERVAL: Duration = Duration::from_millis(100);
/// Times a second that indicatif draws at most: more often than it is asked to.
const REFRESHES: u8 = 20;

/// Lines on the terminal behind a standard stream.
#[derive(Debug)]
pub(crate) struct LiveLines {
    stream: Stream,
    drawn: Option<(ProgressBar, Instant)>,
}

impl LiveLines {
    /// Begins with no line drawn.
    pub(crate) fn new(stream: Stream) -> Self {
        Self {
            stream,
            drawn: None,
        }
    }

    /// Says whether lines that change with every piece of something may be drawn again yet.
    pub(crate) fn is_due(&self) -> bool {
        let drawn = self.drawn.as_ref();
        drawn.is_none_or(|(_, at)| at.elapsed() >= REDRAW_INTERVAL)
    }

    /// Draws lines in place of those that are there; the last ones, if the screen has no room for all.
    pub(crate) fn draw<T: AsRef<str>>(&mut self, lines: &[T]) {
        let term = match self.stream {
            Stream::Stdout => Term::buffered_stdout(),
            Stream::Stderr => Term::buffered_stderr(),
        };
        let room = usize::from(term.size().0).saturating_sub(1);
        let first = lines.len().saturating_sub(room);
        let (bar, at) = self
            .drawn
            .get_or_insert_with(|| (bar(Resting(term)), Instant::now()));
        let mut text = String::new();
        for line in &lines[first..] {
            text.push_str(line.as_ref());
            text.push('\n');
        }
        bar.set_message(text);
        *at = Instant::now();
    }

    /// Lets others write above the lines.
    pub(crate) fn aside(&self, write: impl FnOnce()) {
        match &self.drawn {
            Some((bar, _)) => bar.suspend(write),
            None => write(),
        }
    }

    /// Takes the lines off the screen. Where none were drawn, the screen is left alone.
    pub(crate) fn clear(&mut self) {
        if let Some((bar, _)) = self.drawn.take() {
            bar.finish_and_clear();
        }
    }
}

/// Returns a bar that is all message. With a bar per line, a redraw could show half of a change.
fn bar(term: Resting) -> ProgressBar {
    let target = ProgressDrawTarget::term_like_with_hz(Box::new(term), REFRESHES);
    let style = ProgressStyle::with_template("{msg}").expect("the template is fixed");
    ProgressBar::with_draw_target(None, target).with_style(style)
}

/// A terminal whose cursor goes to the beginning of its line when something has been drawn.
#[derive(Debug)]
struct Resting(Term);

impl TermLike for Resting {
    fn width(&self) -> u16 {
        self.0.size().1
    }

    fn height(&self) -> u16 {
        self.0.size().0
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_up(n)
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_down(n)
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_right(n)
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_left(n)
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.0.write_line(text)
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.0.write_str(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.0.clear_line()
    }

    fn flush(&self) -> io::Result<()> {
        self.0.write_str("\r")?;
        self.0.flush()
    }
}
