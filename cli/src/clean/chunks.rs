//! Output of a container that arrives in pieces, for a terminal that is not the container's own.

use super::sequences::{RESET, is_colour, is_order, sequence};

/// Bytes of an unfinished escape sequence that are waited for. Longer ones are no sequences.
const LONGEST: usize = 4096;

/// What one stream of a container has written and is not shown yet.
///
/// Words, line feeds, tabs and colours pass, and so do carriage returns and backspaces, which
/// programs draw their progress with. Everything else that a terminal would obey is dropped.
#[derive(Debug, Default)]
pub(crate) struct ChunkCleaner {
    /// The beginning of a character or of an escape sequence.
    pending: Vec<u8>,
    is_coloured: bool,
}

impl ChunkCleaner {
    /// Takes what was written next; returns what may be shown.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let bytes = std::mem::take(&mut self.pending);
        let mut shown = String::with_capacity(bytes.len());
        let mut rest = bytes.as_slice();
        while let Some(chunk) = rest.utf8_chunks().next() {
            let (valid, invalid) = (chunk.valid(), chunk.invalid());
            let left = self.show(valid, &mut shown);
            rest = &rest[valid.len() + invalid.len()..];
            let is_last = rest.is_empty();
            if is_last && left < valid.len() && invalid.is_empty() {
                self.pending = valid.as_bytes()[left..].to_vec();
            } else if is_last && !invalid.is_empty() && invalid.len() < 4 && is_begun(invalid) {
                self.pending = [&valid.as_bytes()[left..], invalid].concat();
            } else if !invalid.is_empty() {
                shown.push(char::REPLACEMENT_CHARACTER);
            }
        }
        shown
    }

    /// Returns what has to be written after everything else.
    pub(crate) fn end(&mut self) -> &'static str {
        self.pending.clear();
        if std::mem::take(&mut self.is_coloured) {
            RESET
        } else {
            ""
        }
    }

    /// Shows text up to an escape sequence that is not finished; returns where that begins.
    fn show(&mut self, text: &str, shown: &mut String) -> usize {
        let mut at = 0;
        while let Some(character) = text[at..].chars().next() {
            let next = at + character.len_utf8();
            if !is_order(character) || matches!(character, '\r' | '\x08') {
                shown.push(character);
            } else if character == '\x1b' {
                match sequence(&text[at..]) {
                    Some(found) => {
                        if is_colour(found) {
                            shown.push_str(found);
                            self.is_coloured = !matches!(found, "\x1b[0m" | "\x1b[m");
                        }
                        at += found.len();
                        continue;
                    }
                    None if !text[at..].contains('\n') && text.len() - at < LONGEST => return at,
                    None => {}
                }
            }
            at = next;
        }
        at
    }
}

/// Says whether bytes that are no UTF-8 may be the beginning of a character.
fn is_begun(bytes: &[u8]) -> bool {
    // Complete, they would be replaced by as many as their first byte announces.
    let length = match bytes.first() {
        Some(0xc2..=0xdf) => 2,
        Some(0xe0..=0xef) => 3,
        Some(0xf0..=0xf4) => 4,
        _ => 0,
    };
    bytes.len() < length
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(chunks: &[&[u8]]) -> String {
        let mut stream = ChunkCleaner::default();
        let mut text: String = chunks.iter().map(|chunk| stream.push(chunk)).collect();
        text.push_str(stream.end());
        text
    }

    #[test]
    fn progress_and_colours_pass() {
        let written = b"10 %\r20 %\x08\x08\n\x1b[32mok\n\x1b[0m\t";
        assert_eq!(shown(&[written]).as_bytes(), written);
        assert_eq!(shown(&[b"\x1b[31mred\n"]), "\x1b[31mred\n\x1b[0m");
    }

    #[test]
    fn text_cut_anywhere_comes_out_the_same() {
        let written =
            "a\x1b[2Jb\x1b]0;title\x07c gr\u{fc}\u{df}e \u{1f469}\x1b[1mx\x1b[0m\u{9b}\u{202e}.\n";
        let whole = shown(&[written.as_bytes()]);
        assert_eq!(whole, "abc gr\u{fc}\u{df}e \u{1f469}\x1b[1mx\x1b[0m.\n");
        for cut in 0..written.len() {
            let (first, second) = written.as_bytes().split_at(cut);
            assert_eq!(shown(&[first, second]), whole, "cut at {cut}");
        }
        let single: Vec<&[u8]> = written.as_bytes().chunks(1).collect();
        assert_eq!(shown(&single), whole);
    }

    #[test]
    fn nothing_is_waited_for_without_end() {
        let mut stream = ChunkCleaner::default();
        assert_eq!(stream.push(b"\x1b]0;"), "");
        assert!(stream.push(&[b'x'; LONGEST]).ends_with("xxx"));
        assert_eq!(stream.push(b"y"), "y");
        assert_eq!(stream.push(b"\x1b]0;unfinished"), "");
        assert_eq!(stream.push(b"\n"), "]0;unfinished\n");
        assert_eq!(shown(&[b"\xff\xfe\xc3"]), "\u{fffd}\u{fffd}");
    }
}
