//! Writing a log: whole records, within limits, and with a word about what could not be written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use kiln_oci::Timestamp;
use kiln_runtime::Stream;

use super::files;
use super::record::LogRecord;

/// Longer lines are split (docs/spec/cli.md 5.2).
const LONGEST_BYTES: usize = 16 << 10;

/// How much of a log is kept.
#[derive(Clone, Copy, Debug)]
struct LogLimits {
    /// Bytes of a file, unless a single record is longer.
    file_bytes: u64,
    /// Files that are full, beside the one that is written to.
    full_files: usize,
}

impl LogLimits {
    /// What Docker's driver `local` keeps: five files of 20 MB. Its json-file keeps everything,
    /// which has filled many a disk.
    const USUAL: Self = Self {
        file_bytes: 20_000_000,
        full_files: 4,
    };
}

/// Appends to a log.
#[derive(Debug)]
pub(crate) struct LogWriter {
    directory: PathBuf,
    file: File,
    limits: LogLimits,
    /// Bytes of the file: those of whole records.
    length: u64,
    /// Beginnings of lines, by stream.
    pending: [Vec<u8>; 2],
    lost: Option<LostRecords>,
}

/// Records that could not be written and that the log does not mention yet.
#[derive(Debug)]
struct LostRecords {
    records: u64,
    /// Why the first of them could not be.
    reason: io::Error,
}

impl LogWriter {
    /// Opens the log in a container's directory.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        Self::with_limits(directory, LogLimits::USUAL)
    }

    fn with_limits(directory: &Path, limits: LogLimits) -> io::Result<Self> {
        let mut file = open(&files::current(directory))?;
        let mut length = file.metadata()?.len();
        if length > 0 {
            // A writer that was killed in the middle of a record must not spoil the next one too.
            let mut last = [0];
            file.seek(SeekFrom::Start(length - 1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" && file.write_all(b"\n").is_ok() {
                length += 1;
            }
        }
        Ok(Self {
            directory: directory.to_owned(),
            file,
            limits,
            length,
            pending: [Vec::new(), Vec::new()],
            lost: None,
        })
    }

    /// Takes output as it comes and writes the lines that are complete. What cannot be written is
    /// counted: the container must not wait for a disk that is full.
    pub(crate) fn write(&mut self, stream: Stream, bytes: &[u8]) {
        let mut records = Vec::new();
        let pending = &mut self.pending[slot(stream)];
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let mut piece = piece;
            while !piece.is_empty() {
                let (now, later) = piece.split_at(piece.len().min(LONGEST_BYTES - pending.len()));
                pending.extend_from_slice(now);
                piece = later;
                if pending.last() == Some(&b'\n') || pending.len() == LONGEST_BYTES {
                    records.extend(record(stream, pending));
                    pending.clear();
                }
            }
        }
        self.append(&records);
    }

    /// Writes what is left of lines that never ended. Returns how many records are missing without
    /// the log itself saying so.
    pub(crate) fn finish(mut self) -> u64 {
        let mut records = Vec::new();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let pending = &self.pending[slot(stream)];
            if !pending.is_empty() {
                records.extend(record(stream, pending));
            }
        }
        self.append(&records);
        self.confess();
        self.lost.map_or(0, |lost| lost.records)
    }

    fn append(&mut self, records: &[u8]) {
        self.confess();
        if let Err((reason, records)) = self.write_whole(records) {
            let lost = self.lost.get_or_insert(LostRecords { records: 0, reason });
            lost.records += records;
        }
    }

    /// Writes into the log how many records are missing at this place, if any are and there is room.
    fn confess(&mut self) {
        let Some(lost) = self.lost.take() else {
            return;
        };
        let (lines, reason) = (lost.records, &lost.reason);
        let text = format!("kiln: {lines} lines of output were lost here: {reason}\n");
        if self
            .write_whole(&record(Stream::Stderr, text.as_bytes()))
            .is_err()
        {
            self.lost = Some(lost);
        }
    }

    /// Writes records. If that fails, those that are whole stay, and the number of the others is
    /// returned beside the reason.
    fn write_whole(&mut self, records: &[u8]) -> Result<(), (io::Error, u64)> {
        let mut rest = records;
        while !rest.is_empty() {
            let now = self.room_for(rest).map_err(|error| (error, count(rest)))?;
            let (whole, error) = write_records(&mut self.file, &rest[..now]);
            self.length += whole as u64;
            rest = &rest[whole..];
            if let Some(error) = error {
                // Half a record would spoil the next one too.
                let _ = self.file.set_len(self.length);
                return Err((error, count(rest)));
            }
        }
        Ok(())
    }

    /// Returns how much of some records goes into the current file, which is a new one if nothing
    /// would.
    fn room_for(&mut self, records: &[u8]) -> io::Result<usize> {
        let most = self.limits.file_bytes;
        let fits = |length: u64| {
            let room = most.saturating_sub(length);
            let room = usize::try_from(room).unwrap_or(usize::MAX);
            whole_records(&records[..records.len().min(room)])
        };
        match fits(self.length) {
            0 if self.length > 0 => {}
            0 => return Ok(first_record(records)),
            some => return Ok(some),
        }
        let new = fits(0);
        self.rotate()?;
        Ok(match new {
            0 => first_record(records),
            some => some,
        })
    }

    /// Gives the current file a number and begins another one; removes the oldest.
    fn rotate(&mut self) -> io::Result<()> {
        // What needs room on the disk comes first: if it fails, nothing has changed.
        let new = self.directory.join("log.new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = open(&new)?;
        let numbers = files::numbers(&self.directory)?;
        let number = numbers.last().map_or(1, |last| last + 1);
        let current = files::current(&self.directory);
        fs::rename(&current, files::numbered(&self.directory, number))?;
        fs::rename(&new, &current)?;
        self.file = file;
        self.length = 0;
        let too_many = (numbers.len() + 1).saturating_sub(self.limits.full_files);
        for number in &numbers[..too_many.min(numbers.len())] {
            // If this fails, the file is removed with the container.
            let _ = fs::remove_file(files::numbered(&self.directory, *number));
        }
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .read(true)
        .open(path)
}

fn slot(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

fn record(stream: Stream, text: &[u8]) -> Vec<u8> {
    let record = LogRecord {
        log: String::from_utf8_lossy(text).into_owned(),
        stream,
        time: Timestamp::now(),
    };
    let mut line = serde_json::to_vec(&record).unwrap_or_default();
    line.push(b'\n');
    line
}

fn count(records: &[u8]) -> u64 {
    records.iter().filter(|&&byte| byte == b'\n').count() as u64
}

/// Returns the bytes of the records that are whole.
fn whole_records(bytes: &[u8]) -> usize {
    let end = bytes.iter().rposition(|&byte| byte == b'\n');
    end.map_or(0, |end| end + 1)
}

fn first_record(records: &[u8]) -> usize {
    let end = records.iter().position(|&byte| byte == b'\n');
    end.map_or(records.len(), |end| end + 1)
}

/// Writes records; returns the bytes of those that were written whole, and what stopped it.
fn write_records(file: &mut impl io::Write, records: &[u8]) -> (usize, Option<io::Error>) {
    let mut written = 0;
    while written < records.len() {
        match file.write(&records[written..]) {
            Ok(0) => {
                return (
                    whole_records(&records[..written]),
                    Some(ErrorKind::WriteZero.into()),
                );
            }
            Ok(more) => written += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (whole_records(&records[..written]), Some(error)),
        }
    }
    (written, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(directory: &Path) -> Vec<LogRecord> {
        let mut paths: Vec<PathBuf> = files::numbers(directory)
            .unwrap()
            .into_iter()
            .map(|number| files::numbered(directory, number))
            .collect();
        paths.push(files::current(directory));
        let texts = paths.iter().map(|path| fs::read_to_string(path).unwrap());
        let lines: Vec<String> = texts
            .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
            .collect();
        lines
            .iter()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn records(write: impl FnOnce(&mut LogWriter)) -> Vec<(String, Stream)> {
        let scratch = kiln_testbed::Scratch::new();
        let mut log = LogWriter::open(scratch.path()).unwrap();
        write(&mut log);
        assert_eq!(log.finish(), 0);
        written(scratch.path())
            .into_iter()
            .map(|record| (record.log, record.stream))
            .collect()
    }

    #[test]
    fn records_are_lines_whatever_the_chunks() {
        let records = records(|log| {
            log.write(Stream::Stdout, b"on");
            log.write(Stream::Stderr, b"err\n");
            log.write(Stream::Stdout, b"e\ntwo\nthr");
            log.write(Stream::Stdout, b"ee \xff");
        });
        let texts: Vec<_> = records.iter().map(|(text, _)| text.as_str()).collect();
        assert_eq!(texts, ["err\n", "one\n", "two\n", "three \u{fffd}"]);
        assert_eq!(records[0].1, Stream::Stderr);
    }

    #[test]
    fn long_lines_are_split() {
        let records = records(|log| {
            log.write(Stream::Stdout, &[b'x'; 40_000]);
            log.write(Stream::Stdout, b"\n");
        });
        let lengths: Vec<_> = records.iter().map(|(text, _)| text.len()).collect();
        assert_eq!(lengths, [16384, 16384, 40_000 - 32768 + 1]);
    }

    #[test]
    fn a_log_stays_within_its_limits() {
        let scratch = kiln_testbed::Scratch::new();
        let limits = LogLimits {
            file_bytes: 400,
            full_files: 2,
        };
        let mut log = LogWriter::with_limits(scratch.path(), limits).unwrap();
        for number in 0..100 {
            log.write(Stream::Stdout, format!("{number}\n").as_bytes());
        }
        // Longer than a file: it has one of its own.
        log.write(Stream::Stdout, &[b'x'; 500]);
        log.write(Stream::Stdout, b"\nlast\n");
        assert_eq!(log.finish(), 0);
        let records = written(scratch.path());
        assert_eq!(records.last().unwrap().log, "last\n");
        assert!(records.len() < 20, "{}", records.len());
        assert_eq!(files::numbers(scratch.path()).unwrap().len(), 2);
        // It goes on where it ended.
        let mut log = LogWriter::with_limits(scratch.path(), limits).unwrap();
        log.write(Stream::Stdout, b"again\n");
        log.finish();
        assert_eq!(written(scratch.path()).last().unwrap().log, "again\n");
    }

    #[test]
    fn a_record_that_was_cut_spoils_no_other() {
        let scratch = kiln_testbed::Scratch::new();
        fs::write(files::current(scratch.path()), r#"{"log":"ha"#).unwrap();
        let mut log = LogWriter::open(scratch.path()).unwrap();
        log.write(Stream::Stdout, b"whole\n");
        log.finish();
        let text = fs::read_to_string(files::current(scratch.path())).unwrap();
        let last = text.lines().last().unwrap();
        assert!(last.contains("whole"), "{text}");
        assert!(serde_json::from_str::<LogRecord>(last).is_ok());
    }

    /// Takes so many bytes and no more.
    struct Narrow(Vec<u8>, usize);

    impl io::Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.1.min(bytes.len()) {
                0 => Err(ErrorKind::StorageFull.into()),
                some => {
                    self.0.extend_from_slice(&bytes[..some]);
                    self.1 -= some;
                    Ok(some)
                }
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn whole_records_are_told_from_cut_ones() {
        for (room, whole) in [(0, 0), (1, 0), (2, 2), (3, 2), (4, 4)] {
            let (written, error) = write_records(&mut Narrow(Vec::new(), room), b"a\nb\n");
            assert_eq!((written, error.is_none()), (whole, room == 4), "{room}");
        }
    }
}
