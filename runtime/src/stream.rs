//! The standard streams of a process.

use std::os::fd::AsFd;

use serde::{Deserialize, Serialize};

/// What the standard streams of a process are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Streams {
    /// Two pipes for output; input ends at once.
    Output,
    /// Two pipes for output and one for input.
    Piped,
    /// One terminal for all three.
    Terminal(WindowSize),
}

/// Size of a terminal in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

impl WindowSize {
    /// Returns the size of a terminal; none if it is no terminal.
    #[must_use]
    pub fn of(terminal: impl AsFd) -> Option<Self> {
        let size = rustix::termios::tcgetwinsize(terminal).ok()?;
        Some(Self {
            rows: size.ws_row,
            columns: size.ws_col,
        })
    }
}

/// Which stream some output came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output, or a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}
