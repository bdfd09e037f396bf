//! The file cut into physical lines.

/// Longest physical line, in bytes without the line feed.
pub(crate) const MAX_LINE: usize = 65_535;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// One line of the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a> {
    /// Its bytes with the line ending.
    pub(crate) bytes: &'a [u8],
    /// Offset of its first byte in the file.
    pub(crate) start: u32,
    /// Counted from 1.
    pub(crate) number: u32,
}

impl<'a> Line<'a> {
    /// Returns the line without its trailing carriage returns and line feed.
    pub(crate) fn content(&self) -> &'a [u8] {
        let mut content = self.bytes;
        while let [rest @ .., b'\r' | b'\n'] = content {
            content = rest;
        }
        content
    }

    /// Returns the offset just past the content.
    pub(crate) fn end(&self) -> u32 {
        self.start + offset(self.content().len())
    }

    pub(crate) fn is_too_long(&self) -> bool {
        self.bytes.strip_suffix(b"\n").unwrap_or(self.bytes).len() > MAX_LINE
    }
}

/// Reads lines one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Lines<'a> {
    text: &'a [u8],
    position: usize,
    number: u32,
}

impl<'a> Lines<'a> {
    /// Starts at the top, behind a byte order mark. Text past 4 GiB is not looked at.
    pub(crate) fn new(text: &'a [u8]) -> Self {
        let text = &text[..text.len().min(u32::MAX as usize)];
        let position = if text.starts_with(BYTE_ORDER_MARK) {
            BYTE_ORDER_MARK.len()
        } else {
            0
        };
        Self {
            text,
            position,
            number: 0,
        }
    }

    /// Returns the next line without moving on.
    pub(crate) fn peek(&self) -> Option<Line<'a>> {
        self.clone().next()
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        let rest = &self.text[self.position..];
        if rest.is_empty() {
            return None;
        }
        let length = rest
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(rest.len(), |index| index + 1);
        let start = offset(self.position);
        self.position += length;
        self.number += 1;
        Some(Line {
            bytes: &rest[..length],
            start,
            number: self.number,
        })
    }
}

/// Converts an index into a file of at most 4 GiB.
pub(crate) fn offset(index: usize) -> u32 {
    u32::try_from(index).expect("texts are cut at 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_and_offsets() {
        let lines: Vec<_> = Lines::new(b"\xEF\xBB\xBFa\r\n\nb\r\r\nlast")
            .map(|line| (line.start, line.content(), line.end(), line.number))
            .collect();
        assert_eq!(
            lines,
            [
                (3, &b"a"[..], 4, 1),
                (6, b"", 6, 2),
                (7, b"b", 8, 3),
                (11, b"last", 15, 4)
            ]
        );
        assert!(Lines::new(b"").next().is_none());
    }

    #[test]
    fn length_limit_excludes_the_line_feed() {
        let mut text = vec![b'x'; MAX_LINE];
        text.push(b'\n');
        assert!(!Lines::new(&text).next().unwrap().is_too_long());
        text.insert(0, b'x');
        assert!(Lines::new(&text).next().unwrap().is_too_long());
    }
}
