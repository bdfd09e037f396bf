//! Logical lines: continuations joined, comments dropped, every character still traceable.
//!
//! A [`SourceMap`] remembers which stretch of the joined text came from where, so that a span
//! computed on the joined text covers what stands in the file.

use crate::ast::Text;
use crate::diagnostic::{Diagnostic, Origin};
use crate::lines::{Line, Lines, MAX_LINE, offset};
use crate::span::Span;

/// One instruction's text, still unparsed.
#[derive(Clone, Debug)]
pub(crate) struct LogicalLine {
    /// The joined text, blanks in front removed.
    pub(crate) text: String,
    /// From the first non-blank character to the end of the last line.
    pub(crate) span: Span,
    /// The first physical line, counted from 1.
    pub(crate) number: u32,
    /// The comment block directly above.
    pub(crate) comments: Vec<Text>,
    /// The last line, if a blank line stands between two continued ones.
    pub(crate) empty_continuation: Option<Span>,
    map: SourceMap,
}

impl LogicalLine {
    /// Returns where a slice of `text` stands in the file; for any other text, the whole line.
    pub(crate) fn span_of(&self, slice: &str) -> Span {
        let start = (slice.as_ptr() as usize).checked_sub(self.text.as_ptr() as usize);
        match start {
            Some(start) if start + slice.len() <= self.text.len() => {
                self.map.span(start, start + slice.len())
            }
            _ => self.span,
        }
    }

    /// Returns the rest of `text` from the beginning of a slice of it on; of any other text, that
    /// text.
    pub(crate) fn from<'a>(&'a self, slice: &'a str) -> &'a str {
        let start = (slice.as_ptr() as usize).checked_sub(self.text.as_ptr() as usize);
        start
            .and_then(|start| self.text.get(start..))
            .unwrap_or(slice)
    }

    /// Returns a slice of `text` with its place.
    pub(crate) fn text_of(&self, slice: &str) -> Text {
        Text {
            raw: slice.to_owned(),
            span: self.span_of(slice),
        }
    }
}

/// Positions in the file of the stretches of a joined text.
#[derive(Clone, Debug, Default)]
struct SourceMap {
    /// Ascending in both.
    stretches: Vec<Stretch>,
}

#[derive(Clone, Copy, Debug)]
struct Stretch {
    in_text: u32,
    in_file: u32,
    /// Its length in the file: bytes that are no text are longer in the text, where a replacement
    /// character stands for them.
    length: u32,
}

impl Stretch {
    fn locate(self, position: u32) -> u32 {
        self.in_file + (position.saturating_sub(self.in_text)).min(self.length)
    }
}

impl SourceMap {
    fn push(&mut self, in_text: usize, in_file: u32, length: usize) {
        self.stretches.push(Stretch {
            in_text: offset(in_text),
            in_file,
            length: offset(length),
        });
    }

    fn span(&self, start: usize, end: usize) -> Span {
        let (start, end) = (offset(start), offset(end));
        let first = self.stretch(start).map_or(0, |found| found.locate(start));
        // The end belongs to the stretch of the last character, not to the one that follows it.
        let last = match self.stretch(end.saturating_sub(1)) {
            Some(found) if end > start => found.locate(end),
            _ => first,
        };
        Span::new(first, last.max(first))
    }

    /// Returns the stretch a position lies in: the first one, if it lies before all.
    fn stretch(&self, position: u32) -> Option<Stretch> {
        let behind = self
            .stretches
            .partition_point(|stretch| stretch.in_text <= position);
        self.stretches.get(behind.saturating_sub(1)).copied()
    }
}

/// Reads logical lines; hands the physical ones to the reader of heredoc bodies.
#[derive(Debug)]
pub(crate) struct LogicalLines<'a> {
    lines: Lines<'a>,
    escape: u8,
    comments: Vec<Text>,
}

impl<'a> LogicalLines<'a> {
    pub(crate) fn new(lines: Lines<'a>, escape: char) -> Self {
        Self {
            lines,
            escape: escape_byte(escape),
            comments: Vec::new(),
        }
    }

    /// Returns the next physical line short enough to be looked at; others are reported.
    pub(crate) fn physical(&mut self, diagnostics: &mut Vec<Diagnostic>) -> Option<Line<'a>> {
        loop {
            let line = self.lines.next()?;
            if !line.is_too_long() {
                return Some(line);
            }
            diagnostics.push(Diagnostic::error(
                Origin::Lexing,
                "line-too-long",
                Span::new(line.start, line.end()),
                format!("dockerfile line greater than max allowed size of {MAX_LINE}"),
            ));
        }
    }

    /// Returns the next instruction's line, or `None` at the end of the file.
    pub(crate) fn next(&mut self, diagnostics: &mut Vec<Diagnostic>) -> Option<LogicalLine> {
        let first = self.first_line(diagnostics)?;
        let trimmed = trim_start(first.content());
        let start = first.end() - offset(trimmed.len());

        let mut joined = Joined::default();
        let mut last = first;
        let mut blank_inside = false;
        let mut continues = joined.push(trimmed, start, self.escape);
        while continues {
            let Some(line) = self.physical(diagnostics) else {
                break;
            };
            last = line;
            match trim_start(line.content()) {
                [] => blank_inside = true,
                [b'#', ..] => {}
                // Leading blanks of a continued line are kept.
                _ => continues = joined.push(line.content(), line.start, self.escape),
            }
        }

        diagnostics.extend(joined.invalid.map(invalid_utf8));
        Some(LogicalLine {
            text: joined.text,
            span: Span::new(start, last.end().max(start)),
            number: first.number,
            comments: std::mem::take(&mut self.comments),
            empty_continuation: blank_inside.then(|| Span::new(last.start, last.end())),
            map: joined.map,
        })
    }

    /// Returns the first line that is neither blank nor a comment, collecting comments.
    fn first_line(&mut self, diagnostics: &mut Vec<Diagnostic>) -> Option<Line<'a>> {
        loop {
            let line = self.physical(diagnostics)?;
            match trim_start(line.content()) {
                [] => self.comments.clear(),
                [b'#', comment @ ..] => {
                    let end = line.end();
                    let comment = trim_start(comment);
                    let raw = String::from_utf8_lossy(comment).trim_end().to_owned();
                    if raw.is_empty() {
                        self.comments.clear();
                    } else {
                        let start = end - offset(comment.len());
                        let span = Span::new(start, (start + offset(raw.len())).min(end));
                        self.comments.push(Text { raw, span });
                    }
                }
                _ => return Some(line),
            }
        }
    }
}

/// A logical line under construction.
#[derive(Default)]
struct Joined {
    text: String,
    map: SourceMap,
    invalid: Option<Span>,
}

impl Joined {
    /// Appends a physical line's content that starts at `start`; returns whether it is continued.
    fn push(&mut self, content: &[u8], start: u32, escape: u8) -> bool {
        let (piece, continues) = split_continuation(content, escape);
        let mut position = start;
        for chunk in piece.utf8_chunks() {
            if !chunk.valid().is_empty() {
                self.map
                    .push(self.text.len(), position, chunk.valid().len());
                self.text.push_str(chunk.valid());
                position += offset(chunk.valid().len());
            }
            if !chunk.invalid().is_empty() {
                let end = position + offset(chunk.invalid().len());
                self.invalid.get_or_insert(Span::new(position, end));
                self.map
                    .push(self.text.len(), position, chunk.invalid().len());
                self.text.push(char::REPLACEMENT_CHARACTER);
                position = end;
            }
        }
        continues
    }
}

/// An error for bytes that are no text; the build would otherwise silently use other ones.
pub(crate) fn invalid_utf8(span: Span) -> Diagnostic {
    let message = "dockerfile contains bytes that are not valid UTF-8";
    Diagnostic::error(Origin::Lexing, "encoding", span, message)
}

/// Returns the escape token as it stands in a file.
pub(crate) fn escape_byte(escape: char) -> u8 {
    if escape == '`' { b'`' } else { b'\\' }
}

/// Cuts off a continuation: an escape token as last non-blank character, and not a doubled one.
pub(crate) fn split_continuation(content: &[u8], escape: u8) -> (&[u8], bool) {
    let mut end = content;
    while let [rest @ .., b' ' | b'\t'] = end {
        end = rest;
    }
    match end {
        [.., before, last] if *last == escape && *before == escape => (content, false),
        [rest @ .., last] if *last == escape => (rest, true),
        _ => (content, false),
    }
}

fn trim_start(content: &[u8]) -> &[u8] {
    // Nearly every line starts with an ASCII letter.
    if content.first().is_some_and(u8::is_ascii_graphic) {
        return content;
    }
    let text = content
        .utf8_chunks()
        .next()
        .map_or("", |chunk| chunk.valid());
    &content[text.len() - text.trim_start().len()..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, escape: char) -> Vec<LogicalLine> {
        let mut lines = LogicalLines::new(Lines::new(text.as_bytes()), escape);
        let mut diagnostics = Vec::new();
        std::iter::from_fn(|| lines.next(&mut diagnostics)).collect()
    }

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let found: Vec<_> = read(text, '\\').into_iter().map(|line| line.text).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn continued_lines_are_joined() {
        check("RUN a\\\n   b\nX\n", &["RUN a   b", "X"]); // DF-011
        check("RUN a \\\\\nX", &["RUN a \\\\", "X"]); // DF-012
        check("RUN a \\ \t\nb", &["RUN a b"]); // DF-013
        check("RUN a \\\n# c \\\n  # d\nb\nX", &["RUN a b", "X"]); // DF-008
        check("# c \\\nRUN a", &["RUN a"]); // DF-009
        check("RUN a \\\n\n \t\nb\nX", &["RUN a b", "X"]); // DF-010
        check("RUN a \\", &["RUN a "]);
        check("\\\nRUN a", &["RUN a"]);
        check("  RUN a\\\r\nb\r\n", &["RUN ab"]);
        check("a \\b\n", &["a \\b"]);
    }

    #[test]
    fn df_014_backtick_continues() {
        let lines = read("RUN a `\nb \\\nc", '`');
        assert_eq!(lines[0].text, "RUN a b \\");
        assert_eq!(lines[1].text, "c");
    }

    #[test]
    fn df_010_blank_line_is_noted_at_the_last_line() {
        let text = "RUN a \\\n\n  b\n";
        let lines = read(text, '\\');
        assert_eq!(lines[0].empty_continuation, Some(Span::new(9, 12)));
        assert_eq!(lines[0].span, Span::new(0, 12));
    }

    #[test]
    fn comments_directly_above_are_kept() {
        #[track_caller]
        fn check(text: &str, expected: &[&str]) {
            let lines = read(text, '\\');
            let comments: Vec<_> = lines[0]
                .comments
                .iter()
                .map(|text| text.raw.as_str())
                .collect();
            assert_eq!(comments, expected);
        }
        check("# a\n  #  b \nFROM x", &["a", "b"]);
        check("# a\n#\n# b\nFROM x", &["b"]);
        check("# a\n\n# b\nFROM x", &["b"]);
        check("# a\n\nFROM x", &[]);

        let lines = read("# a\nFROM x\nRUN y", '\\');
        assert!(lines[1].comments.is_empty());
        assert_eq!(lines[0].comments[0].span, Span::new(2, 3));
    }

    #[test]
    fn spans_survive_continuations() {
        let text = "RUN one \\\n  # c\n  two three\n";
        let lines = read(text, '\\');
        let line = &lines[0];
        let three = &line.text[line.text.find("three").unwrap()..];
        let span = line.span_of(three);
        assert_eq!(&text[span.start as usize..span.end as usize], "three");
        let both = &line.text[4..line.text.find(" three").unwrap()];
        let span = line.span_of(both);
        assert_eq!(
            &text[span.start as usize..span.end as usize],
            "one \\\n  # c\n  two"
        );
    }

    #[test]
    fn invalid_bytes_are_reported_once() {
        let mut lines = LogicalLines::new(Lines::new(b"RUN \xFF a \xFE b"), '\\');
        let mut diagnostics = Vec::new();
        let line = lines.next(&mut diagnostics).unwrap();
        assert_eq!(line.text, "RUN \u{FFFD} a \u{FFFD} b");
        assert_eq!(line.span_of(&line.text[8..9]), Span::new(6, 7));
        // As long as in the file, not as long as the character that stands for it.
        assert_eq!(line.span_of(&line.text[4..7]), Span::new(4, 5));
        assert_eq!(diagnostics.len(), 1);
        assert_eq!(diagnostics[0].span, Span::new(4, 5));
    }
}
