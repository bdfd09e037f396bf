//! Why something failed: words for people, and the error behind them for programs.

use std::error::Error;
use std::fmt;

/// An error of any crate, kept so that a front end can look for what it knows.
pub type Cause = Box<dyn Error + Send + Sync>;

/// Why something failed. Its text does not repeat its causes: follow `source`.
#[derive(Debug)]
pub enum Explanation {
    /// The engine saw it by itself.
    Stated(String),
    /// An error ended what was being done.
    While {
        /// What was being done.
        doing: String,
        /// What ended it.
        cause: Cause,
    },
    /// An error that needs no words of the engine's.
    Passed(Cause),
}

impl Explanation {
    /// Returns the error behind it, if there is one.
    #[must_use]
    pub fn cause(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Stated(_) => None,
            Self::While { cause, .. } | Self::Passed(cause) => Some(&**cause),
        }
    }

    /// Returns the error that the words shown do not tell of yet.
    pub(crate) fn untold(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Stated(_) => None,
            Self::While { cause, .. } => Some(&**cause),
            Self::Passed(cause) => cause.source(),
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stated(words) | Self::While { doing: words, .. } => f.write_str(words),
            Self::Passed(cause) => cause.fmt(f),
        }
    }
}

/// Returns an error and its causes on one line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
