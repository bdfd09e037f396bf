//! A container's log: one JSON record a line, in the form of Docker's json-file driver.
//!
//! ```text
//! {"log":"hello\n","stream":"stdout","time":"2026-11-21T09:30:00.5Z"}
//! ```
//!
//! One process appends, each record in one write; any number may read meanwhile. A reader that
//! follows learns of news by inotify, and of the end by the lock that its writer holds.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use kiln_cache::Timestamp;
use rustix::event::{PollFd, PollFlags};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use serde::{Deserialize, Serialize};

use super::Container;
use crate::{Cancel, Stream};

/// Longer lines are split (cli.md section 5.2).
const LONGEST_BYTES: usize = 16 << 10;

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

/// Appends to a log.
#[derive(Debug)]
pub(super) struct LogWriter {
    file: File,
    /// Beginnings of lines, by stream.
    pending: [Vec<u8>; 2],
}

impl LogWriter {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: OpenOptions::new().create(true).append(true).open(path)?,
            pending: [Vec::new(), Vec::new()],
        })
    }

    /// Takes output as it comes and writes the lines that are complete.
    pub(super) fn write(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        let mut records = Vec::new();
        let pending = &mut self.pending[slot(stream)];
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let mut piece = piece;
            while !piece.is_empty() {
                let (now, later) = piece.split_at(piece.len().min(LONGEST_BYTES - pending.len()));
                pending.extend_from_slice(now);
                piece = later;
                if pending.last() == Some(&b'\n') || pending.len() == LONGEST_BYTES {
                    append(&mut records, stream, pending)?;
                    pending.clear();
                }
            }
        }
        self.file.write_all(&records)
    }

    /// Writes what is left of lines that never ended.
    pub(super) fn finish(mut self) -> io::Result<()> {
        let mut records = Vec::new();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let pending = &self.pending[slot(stream)];
            if !pending.is_empty() {
                append(&mut records, stream, pending)?;
            }
        }
        self.file.write_all(&records)
    }
}

fn slot(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

fn append(records: &mut Vec<u8>, stream: Stream, text: &[u8]) -> io::Result<()> {
    let record = LogRecord {
        log: String::from_utf8_lossy(text).into_owned(),
        stream: stream.into(),
        time: Timestamp::now(),
    };
    serde_json::to_writer(&mut *records, &record)?;
    records.push(b'\n');
    Ok(())
}

/// Whether a reader waits for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// It ends where the log ends now.
    No,
    /// It ends when the container does.
    UntilEnd,
}

/// Reads a log.
#[derive(Debug)]
pub struct LogReader {
    container: Container,
    file: BufReader<File>,
    /// A line that is not complete yet.
    line: Vec<u8>,
    news: Option<OwnedFd>,
}

impl LogReader {
    pub(super) fn open(container: &Container, follow: Follow) -> io::Result<Self> {
        // Watching starts before reading, so nothing is missed in between.
        let news = match follow {
            Follow::No => None,
            Follow::UntilEnd => Some(watch(container.directory())?),
        };
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .read(true)
            .open(container.directory().join("log"))?;
        Ok(Self {
            container: container.clone(),
            file: BufReader::new(file),
            line: Vec::new(),
            news,
        })
    }

    /// Returns the next record; none at the end. `cancel` ends the waiting.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn next_record(&mut self, cancel: &Cancel) -> io::Result<Option<LogRecord>> {
        loop {
            // Asked before reading: what was written before the end is read after it.
            let over = match &self.news {
                None => true,
                Some(_) => !self.container.is_running()?,
            };
            while self.file.read_until(b'\n', &mut self.line)? > 0 {
                if self.line.last() == Some(&b'\n') {
                    let record = serde_json::from_slice(&self.line);
                    self.line.clear();
                    // A monitor that was killed in the middle of a write leaves half a record.
                    if let Ok(record) = record {
                        return Ok(Some(record));
                    }
                }
            }
            match &self.news {
                Some(news) if !over => {
                    if !wait(news, cancel)? {
                        return Ok(None);
                    }
                }
                _ => return Ok(None),
            }
        }
    }
}

fn watch(directory: &Path) -> io::Result<OwnedFd> {
    let news = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    // A monitor that ends, in whatever way, closes the log it was writing.
    let events = WatchFlags::MODIFY
        | WatchFlags::CLOSE_WRITE
        | WatchFlags::MOVED_TO
        | WatchFlags::MOVE_SELF
        | WatchFlags::DELETE_SELF;
    inotify::add_watch(&news, directory, events)?;
    Ok(news)
}

/// Waits for news and forgets them; says whether there were any.
fn wait(news: &OwnedFd, cancel: &Cancel) -> io::Result<bool> {
    let mut events = [
        PollFd::new(news, PollFlags::IN),
        PollFd::new(cancel, PollFlags::IN),
    ];
    rustix::io::retry_on_intr(|| rustix::event::poll(&mut events, None))?;
    if !events[1].revents().is_empty() {
        return Ok(false);
    }
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(news, &mut buffer);
    while reader.next().is_ok() {}
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(write: impl FnOnce(&mut LogWriter)) -> Vec<(String, LogStream)> {
        let scratch = kiln_testbed::Scratch::new();
        let path = scratch.join("log");
        let mut log = LogWriter::open(&path).unwrap();
        write(&mut log);
        log.finish().unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        text.lines()
            .map(|line| serde_json::from_str::<LogRecord>(line).unwrap())
            .map(|record| (record.log, record.stream))
            .collect()
    }

    #[test]
    fn records_are_lines_whatever_the_chunks() {
        let records = records(|log| {
            log.write(Stream::Stdout, b"on").unwrap();
            log.write(Stream::Stderr, b"err\n").unwrap();
            log.write(Stream::Stdout, b"e\ntwo\nthr").unwrap();
            log.write(Stream::Stdout, b"ee \xff").unwrap();
        });
        let texts: Vec<_> = records.iter().map(|(text, _)| text.as_str()).collect();
        assert_eq!(texts, ["err\n", "one\n", "two\n", "three \u{fffd}"]);
        assert_eq!(records[0].1, LogStream::Stderr);
    }

    #[test]
    fn long_lines_are_split() {
        let records = records(|log| {
            log.write(Stream::Stdout, &[b'x'; 40_000]).unwrap();
            log.write(Stream::Stdout, b"\n").unwrap();
        });
        let lengths: Vec<_> = records.iter().map(|(text, _)| text.len()).collect();
        assert_eq!(lengths, [16384, 16384, 40_000 - 32768 + 1]);
    }

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
