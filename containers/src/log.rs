//! A container's log: one JSON record a line, in the form of Docker's json-file driver.
//!
//! ```text
//! {"log":"hello\n","stream":"stdout","time":"2026-11-21T09:30:00.5Z"}
//! ```
//!
//! One process appends, whole records at a time; any number may read meanwhile. A file that is full
//! gets a number, `log.<n>`, and is never touched again; the greater the number, the newer it is,
//! and `log` is the newest of all. Of those with a number the oldest are removed, so that a
//! container that talks for ever does not fill the disk. A reader that follows learns of news by
//! inotify, and of the end by the lock that the writer holds.

mod files; // its files, in order
mod read; // what was written
mod write; // what is being written

use kiln_oci::Timestamp;
use serde::{Deserialize, Serialize};

pub use read::{Follow, LogReader};
pub(crate) use write::LogWriter;

use kiln_runtime::Stream;

/// A piece of output: a line, or a part of a long one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecord {
    /// The text, with its line feed if that has come.
    pub log: String,
    /// Where it was written.
    pub stream: LogStream,
    /// When it was read.
    pub time: Timestamp,
}

/// Streams as the log names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    /// Standard output, or a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl From<Stream> for LogStream {
    fn from(stream: Stream) -> Self {
        match stream {
            Stream::Stdout => Self::Stdout,
            Stream::Stderr => Self::Stderr,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_dockers() {
        let record = LogRecord {
            log: "a\n".to_owned(),
            stream: LogStream::Stdout,
            time: Timestamp::EPOCH,
        };
        assert_eq!(
            serde_json::to_string(&record).unwrap(),
            r#"{"log":"a\n","stream":"stdout","time":"1970-01-01T00:00:00Z"}"#
        );
    }
}
