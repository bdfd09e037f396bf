//! Places in the source text.

/// A half-open range of bytes of the Dockerfile's text, `start..end`.
///
/// Offsets count from the first byte of the file as it was read (a byte order mark included), so a
/// span can always be shown to the person who wrote the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Offset just past the last byte.
    pub end: u32,
}

impl Span {
    /// Returns the span `start..end`.
    #[must_use]
    pub const fn new(start: u32, end: u32) -> Self {
        Self { start, end }
    }

    /// Returns the smallest span that holds both.
    #[must_use]
    pub fn cover(self, other: Self) -> Self {
        Self::new(self.start.min(other.start), self.end.max(other.end))
    }

    /// Returns the line, counted from 1, on which the span starts in `text`.
    #[must_use]
    pub fn line(self, text: &[u8]) -> u32 {
        line_at(text, self.start)
    }

    /// Returns the line, counted from 1, that holds the span's last byte.
    #[must_use]
    pub fn last_line(self, text: &[u8]) -> u32 {
        line_at(text, self.end.saturating_sub(1).max(self.start))
    }
}

/// Ends of the lines of a text, for finding the lines of many spans.
#[derive(Clone, Debug)]
pub struct LineIndex(Vec<u32>);

impl LineIndex {
    /// Reads a text once.
    #[must_use]
    pub fn new(text: &[u8]) -> Self {
        let breaks = (0_u32..).zip(text).filter(|(_, byte)| **byte == b'\n');
        Self(breaks.map(|(offset, _)| offset).collect())
    }

    /// Returns what [`Span::line`] does.
    #[must_use]
    pub fn line(&self, span: Span) -> u32 {
        let before = self.0.partition_point(|offset| *offset < span.start);
        u32::try_from(before).unwrap_or(u32::MAX - 1) + 1
    }
}

fn line_at(text: &[u8], offset: u32) -> u32 {
    let before = &text[..(offset as usize).min(text.len())];
    let breaks = before.iter().filter(|byte| **byte == b'\n').count();
    u32::try_from(breaks).unwrap_or(u32::MAX - 1) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_count_from_one() {
        let text = b"a\nbc\nd";
        assert_eq!(Span::new(0, 1).line(text), 1);
        assert_eq!(Span::new(2, 4).line(text), 2);
        assert_eq!(Span::new(0, 6).last_line(text), 3);
        // The line break belongs to the line it ends.
        assert_eq!(Span::new(0, 2).last_line(text), 1);
        assert_eq!(Span::new(9, 9).line(text), 3);
        let index = LineIndex::new(text);
        for offset in 0..10 {
            let span = Span::new(offset, offset);
            assert_eq!(index.line(span), span.line(text), "{offset}");
        }
    }

    #[test]
    fn cover_holds_both() {
        assert_eq!(Span::new(4, 6).cover(Span::new(1, 5)), Span::new(1, 6));
    }
}
