//! From chunks of bytes, cut anywhere, to lines with times.

use std::collections::VecDeque;
use std::time::Duration;

use kiln_engine::Stream;

/// Bytes of a step's output that are kept for the case that it fails. BuildKit's limit.
const MOST_BYTES: usize = 2 << 20;

/// What one step wrote, as lines.
#[derive(Debug, Default)]
pub(crate) struct Log {
    lines: VecDeque<LogLine>,
    /// Lines that were dropped from the front.
    dropped: u64,
    bytes: usize,
    /// Beginnings of lines, of standard output and standard error.
    begun: [Vec<u8>; 2],
}

/// A line of output, without its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogLine {
    /// When it was complete, counted from the start of the step.
    pub(crate) at: Duration,
    /// What it says; bytes that are not UTF-8 are replaced.
    pub(crate) text: String,
}

impl Log {
    /// Adds a chunk.
    pub(crate) fn add(&mut self, stream: Stream, bytes: &[u8], at: Duration) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let mut line = std::mem::take(self.begun_of(stream));
            line.extend_from_slice(&rest[..end]);
            self.push(&line, at);
            rest = &rest[end + 1..];
        }
        let begun = self.begun_of(stream);
        begun.extend_from_slice(rest);
        if begun.len() > MOST_BYTES {
            let line = std::mem::take(begun);
            self.push(&line, at);
        }
    }

    /// Takes what has begun for lines: nothing more will come.
    pub(crate) fn end(&mut self, at: Duration) {
        for line in std::mem::take(&mut self.begun) {
            if !line.is_empty() {
                self.push(&line, at);
            }
        }
    }

    /// Returns the lines that are kept.
    pub(crate) fn lines(&self) -> impl DoubleEndedIterator<Item = &LogLine> + ExactSizeIterator {
        self.lines.iter()
    }

    /// Returns how many lines were not kept.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Returns how many lines there have been.
    pub(crate) fn count(&self) -> u64 {
        self.dropped + self.lines.len() as u64
    }

    /// Returns the lines after the first `seen`, as far as they are kept.
    pub(crate) fn since(&self, seen: u64) -> impl Iterator<Item = &LogLine> {
        let skip = seen.saturating_sub(self.dropped);
        self.lines
            .iter()
            .skip(usize::try_from(skip).unwrap_or(usize::MAX))
    }

    /// Returns the line that is being written, if one is.
    pub(crate) fn unfinished(&self) -> Option<String> {
        let begun = self.begun.iter().find(|line| !line.is_empty())?;
        Some(text(begun))
    }

    fn begun_of(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Stdout => &mut self.begun[0],
            Stream::Stderr => &mut self.begun[1],
        }
    }

    fn push(&mut self, line: &[u8], at: Duration) {
        let text = text(line);
        self.bytes += text.len() + 1;
        self.lines.push_back(LogLine { at, text });
        while self.bytes > MOST_BYTES && self.lines.len() > 1 {
            if let Some(oldest) = self.lines.pop_front() {
                self.bytes -= oldest.text.len() + 1;
                self.dropped += 1;
            }
        }
    }
}

/// Returns what a terminal would show last of a line: the text after the last carriage return that
/// something follows.
fn text(line: &[u8]) -> String {
    let shown = line
        .rsplit(|byte| *byte == b'\r')
        .find(|part| !part.is_empty())
        .unwrap_or_default();
    String::from_utf8_lossy(shown).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&[u8]]) -> Vec<String> {
        let mut log = Log::default();
        for chunk in chunks {
            log.add(Stream::Stdout, chunk, Duration::ZERO);
        }
        log.end(Duration::ZERO);
        log.lines().map(|line| line.text.clone()).collect()
    }

    #[test]
    fn chunks_become_lines() {
        assert_eq!(lines(&[b"a", b"b\nc", b"\n\nd"]), ["ab", "c", "", "d"]);
        // A character may be cut too.
        assert_eq!(lines(&[b"gr\xc3", b"\xbc\xc3\x9fe\n"]), ["grüße"]);
        assert_eq!(lines(&[b"\xff!\n"]), ["\u{fffd}!"]);
    }

    #[test]
    fn carriage_returns_overwrite() {
        assert_eq!(lines(&[b"10%\r50%\r100%\r\nnext\r\n"]), ["100%", "next"]);
        assert_eq!(lines(&[b"\r\n"]), [""]);
    }

    #[test]
    fn streams_do_not_cut_each_others_lines() {
        let mut log = Log::default();
        log.add(Stream::Stdout, b"out", Duration::ZERO);
        log.add(Stream::Stderr, b"err\n", Duration::ZERO);
        log.add(Stream::Stdout, b"put\n", Duration::ZERO);
        let lines: Vec<&str> = log.lines().map(|line| line.text.as_str()).collect();
        assert_eq!(lines, ["err", "output"]);
    }

    #[test]
    fn old_lines_go_when_there_are_too_many() {
        let mut log = Log::default();
        let line = [b'x'; 1 << 20];
        for number in 0..4 {
            log.add(Stream::Stdout, &line, Duration::from_secs(number));
            log.add(Stream::Stdout, b"\n", Duration::from_secs(number));
        }
        assert_eq!((log.count(), log.dropped()), (4, 3));
        assert_eq!(log.lines().next().unwrap().at, Duration::from_secs(3));
        assert_eq!(log.since(0).count(), 1);
        assert_eq!(log.since(4).count(), 0);
    }
}
