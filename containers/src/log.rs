//! A container's log: one JSON record a line, in the form of Docker's json-file driver.
//!
//! ```text
//! {"log":"hello\n","stream":"stdout","time":"2026-11-21T09:30:00.5Z"}
//! ```
//!
//! One process appends, whole records at a time; any number may read meanwhile. A file that is full
//! gets a number, `log.<n>`, and is never touched again; the greater the number, the newer it is,
//! and `log` is the newest of all. Of those with a number the oldest are removed, so that a
//! container that talks for ever does not fill the disk. A reader that follows learns of changes by
//! inotify, and of the end by the lock that the writer holds.

mod files; // its files, in order
mod read; // what was written
mod record; // what it consists of
mod tail; // where the last of it begins
mod write; // what is being written

pub use read::{Follow, LogReader, LogStart};
pub use record::LogRecord;
pub(crate) use write::LogWriter;
