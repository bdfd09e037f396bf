//! Reading a log, from its oldest file on, while it is written.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, ErrorKind};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use kiln_threads::Stop;
use rustix::event::{PollFd, PollFlags};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use super::files;
use super::record::LogRecord;
use super::tail::open_at_last;
use crate::container::Container;
use crate::error::ContainerError;

/// Whether a reader waits for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// It ends where the log ends now.
    No,
    /// It ends when the container does.
    UntilEnd,
}

/// Where a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStart {
    /// With the oldest record that is kept.
    Oldest,
    /// With the last so many that are written now. What lies before them is not read.
    Last(usize),
}

/// How much is read at a time. Bytes.
const BUFFER: usize = 64 << 10;

/// Reads a log.
#[derive(Debug)]
pub struct LogReader {
    container: Container,
    /// None as long as nothing was written.
    file: Option<BufReader<File>>,
    /// A line that is not complete yet.
    line: Vec<u8>,
    news: Option<OwnedFd>,
}

impl Container {
    /// Opens its log.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn logs(&self, start: LogStart, follow: Follow) -> Result<LogReader, ContainerError> {
        LogReader::open(self, start, follow)
            .map_err(|source| self.missing(self.directory(), source))
    }
}

impl LogReader {
    pub(crate) fn open(container: &Container, start: LogStart, follow: Follow) -> io::Result<Self> {
        // Watching starts before reading, so nothing is missed in between.
        let news = match follow {
            Follow::No => None,
            Follow::UntilEnd => Some(watch(container.directory())?),
        };
        let file = match start {
            LogStart::Oldest => newer_than(container.directory(), None)?,
            LogStart::Last(count) => or_none(open_at_last(container.directory(), count))?
                .map(|file| BufReader::with_capacity(BUFFER, file)),
        };
        Ok(Self {
            container: container.clone(),
            file,
            line: Vec::new(),
            news,
        })
    }

    /// Returns the next record; none at the end. `stop` ends the waiting.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn next_record(&mut self, stop: &Stop) -> io::Result<Option<LogRecord>> {
        loop {
            // Asked before reading: what was written before the end is read after it.
            let over = match &self.news {
                None => true,
                Some(_) => !self.container.is_running()?,
            };
            if let Some(record) = self.written_record()? {
                return Ok(Some(record));
            }
            match &self.news {
                Some(news) if !over => {
                    if !wait(news, stop)? {
                        return Ok(None);
                    }
                }
                _ => return Ok(None),
            }
        }
    }

    /// Says whether the next record is there without waiting or reading from the disk: one who shows
    /// records need not show each at once.
    #[must_use]
    pub fn has_more_at_hand(&self) -> bool {
        let file = self.file.as_ref();
        file.is_some_and(|file| {
            let end = file.buffer().iter().position(|&byte| byte == b'\n');
            // One that was cut off does not end like a record.
            end.is_some_and(|end| file.buffer()[..end].ends_with(b"}"))
        })
    }

    /// Returns the next record that is written already; none if there is none yet.
    ///
    /// # Errors
    /// The log cannot be read.
    fn written_record(&mut self) -> io::Result<Option<LogRecord>> {
        let directory = self.container.directory();
        loop {
            if let Some(record) = read_record(&mut self.file, &mut self.line)? {
                return Ok(Some(record));
            }
            let newer = match &self.file {
                Some(file) => newer_than(directory, Some(file.get_ref()))?,
                None => newer_than(directory, None)?,
            };
            if newer.is_none() {
                return Ok(None);
            }
            // The writer may have gone on after the end that was read; now that there is a newer
            // file, this one will not grow any more.
            if let Some(record) = read_record(&mut self.file, &mut self.line)? {
                return Ok(Some(record));
            }
            self.line.clear();
            self.file = newer;
        }
    }
}

/// Reads the next record of a file; none if no whole record is left. Lines that are no record are
/// left out: a writer that is killed leaves half of one.
fn read_record(
    file: &mut Option<BufReader<File>>,
    line: &mut Vec<u8>,
) -> io::Result<Option<LogRecord>> {
    let Some(file) = file else {
        return Ok(None);
    };
    while file.read_until(b'\n', line)? > 0 {
        if line.last() == Some(&b'\n') {
            let record = serde_json::from_slice(line);
            line.clear();
            if let Ok(record) = record {
                return Ok(Some(record));
            }
        }
    }
    Ok(None)
}

/// Opens the oldest file that is newer than another one, or the oldest of all; none if there is
/// none.
fn newer_than(directory: &Path, file: Option<&File>) -> io::Result<Option<BufReader<File>>> {
    or_none(search(directory, file))
}

/// Takes what is not there for a log in which nothing is: the container was removed.
fn or_none<T>(found: io::Result<Option<T>>) -> io::Result<Option<T>> {
    match found {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        other => other,
    }
}

fn search(directory: &Path, file: Option<&File>) -> io::Result<Option<BufReader<File>>> {
    let own = file.map(File::metadata).transpose()?;
    let is_own = |path: &Path| {
        let own = own.as_ref().map(|own| (own.dev(), own.ino()));
        own.is_some() && fs::metadata(path).is_ok_and(|m| Some((m.dev(), m.ino())) == own)
    };
    if is_own(&files::current(directory)) {
        return Ok(None);
    }
    loop {
        let numbers = files::numbers(directory)?;
        // A file that was removed was older than all that are left.
        let own = numbers
            .iter()
            .rposition(|&number| is_own(&files::numbered(directory, number)));
        let newer = &numbers[own.map_or(0, |own| own + 1)..];
        let path = match newer.first() {
            Some(&number) => files::numbered(directory, number),
            None => files::current(directory),
        };
        let opened = match File::open(&path) {
            Ok(opened) => Some(BufReader::with_capacity(BUFFER, opened)),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        // The writer may have moved on in between, and there may be another one to read before.
        if files::numbers(directory)? == numbers {
            return Ok(opened);
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

/// Waits until the log's directory changes, or `stop`; says whether it changed.
fn wait(news: &OwnedFd, stop: &Stop) -> io::Result<bool> {
    let mut events = [
        PollFd::new(news, PollFlags::IN),
        PollFd::from_borrowed_fd(stop.pollable()?, PollFlags::IN),
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
    use kiln_runtime::Stream;

    fn line(text: &str) -> String {
        format!(
            "{{\"log\":\"{text}\\n\",\"stream\":\"stdout\",\"time\":\"1970-01-01T00:00:00Z\"}}\n"
        )
    }

    #[test]
    fn files_are_read_in_order_though_they_move() {
        let scratch = kiln_testbed::Scratch::new();
        let directory = scratch.path();
        let put = |path: &Path, text: &str| fs::write(path, line(text)).unwrap();
        let mut place = String::new();
        assert!(newer_than(directory, None).unwrap().is_none());
        put(&files::current(directory), "one");
        let first = newer_than(directory, None).unwrap();
        let mut first = Some(first.unwrap());
        let mut text = Vec::new();
        let record = read_record(&mut first, &mut text).unwrap().unwrap();
        assert_eq!(
            (record.log.as_str(), record.stream),
            ("one\n", Stream::Stdout)
        );
        let file = first.unwrap().into_inner();
        assert!(newer_than(directory, Some(&file)).unwrap().is_none());
        // Ten before two as text, not as numbers.
        fs::rename(files::current(directory), files::numbered(directory, 2)).unwrap();
        put(&files::numbered(directory, 10), "ten");
        put(&files::current(directory), "last");
        let mut next = Some(file);
        while let Some(file) = &next {
            let newer = newer_than(directory, Some(file)).unwrap();
            next = newer.map(BufReader::into_inner);
            if let Some(file) = &next {
                place.push_str(&io::read_to_string(file).unwrap());
            }
        }
        assert_eq!(place, line("ten") + &line("last"));
        // One that was removed was older than all that are left.
        let gone = File::open(files::numbered(directory, 2)).unwrap();
        fs::remove_file(files::numbered(directory, 2)).unwrap();
        let mut oldest = newer_than(directory, Some(&gone)).unwrap();
        text.clear();
        let record = read_record(&mut oldest, &mut text).unwrap().unwrap();
        assert_eq!(record.log, "ten\n");
    }
}
