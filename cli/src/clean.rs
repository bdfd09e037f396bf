//! Foreign text on a user's screen: names, messages and output that others chose.
//!
//! A terminal obeys what it is sent. An escape sequence in a tag, a file name, the message of a
//! registry or the output of a step could move the cursor over what kiln said before, change the
//! title, write the clipboard or answer in the person's name; marks of bidirectional text show
//! words in an order that no program reads (CVE-2021-42574). So all that kiln prints passes through
//! this module on its way out, in [`crate::terminal`] and in [`crate::progress`]. The bytes of a
//! container are the exception where they go to a file or a pipe: no terminal obeys them there.
//!
//! What is shown instead of a character is its escape in JSON, `\u001b`. So JSON that was cleaned
//! means what it meant before.

mod sequences; // what terminals obey

mod chunks; // in pieces

use std::borrow::Cow;
use std::fmt::Write as _;
use std::iter::Peekable;
use std::str::CharIndices;

pub(crate) use chunks::ChunkCleaner;
use sequences::{RESET, is_colour, is_order, sequence};

/// What becomes of sequences that set colours and the like (ECMA-48, SGR).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Colours {
    Kept,
    Escaped,
}

/// What becomes of everything else that a terminal would obey.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Orders {
    Escaped,
    Dropped,
}

/// Returns text in which nothing is left but what can be read, line feeds and tabs.
pub(crate) fn text(text: &str) -> Cow<'_, str> {
    clean(text, Colours::Escaped, Orders::Escaped)
}

/// Returns text in one line: as [`text`], with a blank for each line feed and four for each tab.
pub(crate) fn line(line: &str) -> Cow<'_, str> {
    let line = text(line);
    if line.contains(['\n', '\t']) {
        Cow::Owned(line.replace('\n', " ").replace('\t', "    "))
    } else {
        line
    }
}

/// Returns text that kiln coloured: as [`text`], but colours stay. They end with their line.
pub(crate) fn styled(text: &str) -> Cow<'_, str> {
    clean(text, Colours::Kept, Orders::Escaped)
}

/// Returns a line that a program wrote: its colours stay and end with the line, and what would have
/// moved the cursor is gone, since a log has no use for it.
pub(crate) fn output(line: &str) -> Cow<'_, str> {
    clean(line, Colours::Kept, Orders::Dropped)
}

/// Returns text that a program wrote without anything but words.
pub(crate) fn words(text: &str) -> String {
    let text = clean(text, Colours::Kept, Orders::Dropped);
    line(&console::strip_ansi_codes(&text)).into_owned()
}

fn clean(text: &str, colours: Colours, orders: Orders) -> Cow<'_, str> {
    if !text.chars().any(is_order) {
        return Cow::Borrowed(text);
    }
    let mut cleaned = String::with_capacity(text.len() + 16);
    let mut is_coloured = false;
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        if character == '\n' && is_coloured {
            cleaned.push_str(RESET);
            is_coloured = false;
        }
        if !is_order(character) {
            cleaned.push(character);
            continue;
        }
        let sequence = match character {
            '\x1b' => sequence(&text[at..]),
            _ => None,
        };
        match sequence {
            Some(colour) if colours == Colours::Kept && is_colour(colour) => {
                cleaned.push_str(colour);
                is_coloured = !matches!(colour, "\x1b[0m" | "\x1b[m");
                skip(&mut characters, at + colour.len());
            }
            Some(order) if orders == Orders::Dropped => {
                skip(&mut characters, at + order.len());
            }
            _ if orders == Orders::Dropped && character.is_control() => {}
            _ => escape(character, &mut cleaned),
        }
    }
    if is_coloured {
        cleaned.push_str(RESET);
    }
    Cow::Owned(cleaned)
}

fn skip(characters: &mut Peekable<CharIndices<'_>>, end: usize) {
    while characters.next_if(|(at, _)| *at < end).is_some() {}
}

/// Writes a character as JSON escapes it.
fn escape(character: char, into: &mut String) {
    let mut units = [0; 2];
    for unit in character.encode_utf16(&mut units) {
        write!(into, "\\u{unit:04x}").expect("writing to a String succeeds");
    }
}

/// Characters of a step's name that are shown where names are whole: a RUN can be megabytes long.
pub(crate) const LONGEST_NAME: usize = 4000;

/// Returns the beginning of a text that has more characters than `most`, and says that there is more.
pub(crate) fn shorten(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_text_is_not_touched() {
        for plain in ["", "a b\tc\nd", "größe 日本 👩\u{200d}👩", "\u{200f}שלום"] {
            assert!(matches!(text(plain), Cow::Borrowed(same) if same == plain));
            assert!(matches!(styled(plain), Cow::Borrowed(same) if same == plain));
            assert!(matches!(output(plain), Cow::Borrowed(same) if same == plain));
        }
    }

    #[test]
    fn orders_to_terminals_are_shown() {
        for (order, shown) in [
            ("\x1b[2J", r"\u001b[2J"),
            ("\x1b]0;title\x07", r"\u001b]0;title\u0007"),
            ("\u{9b}31m", r"\u009b31m"),
            ("a\rb\x08c\x7f", r"a\u000db\u0008c\u007f"),
            ("user\u{202e}nimda", r"user\u202enimda"),
            ("\u{2066}x\u{2069}\u{2028}", r"\u2066x\u2069\u2028"),
            ("\x1b[31mred", r"\u001b[31mred"),
            ("\0", r"\u0000"),
        ] {
            assert_eq!(text(order), shown);
        }
        assert_eq!(line("a\n\tb\x1b"), r"a     b\u001b");
    }

    #[test]
    fn cleaned_json_means_the_same() {
        let value = serde_json::json!({"a\u{9b}": "\u{202e}\x1b[2J\u{2028}\n\u{1d173}"});
        let cleaned = text(&value.to_string()).into_owned();
        assert!(!cleaned.chars().any(is_order), "{cleaned}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&cleaned).unwrap(),
            value
        );
    }

    #[test]
    fn colours_end_with_their_line() {
        assert_eq!(
            styled("\x1b[1;31mred\nnot\x1b[0m"),
            "\x1b[1;31mred\x1b[0m\nnot\x1b[0m"
        );
        assert_eq!(output("\x1b[38;5;8mgrey"), "\x1b[38;5;8mgrey\x1b[0m");
        assert_eq!(output("\x1b[48;2;8;8;8mx\x1b[m"), "\x1b[48;2;8;8;8mx\x1b[m");
        // Hidden text is no colour.
        assert_eq!(styled("\x1b[0;8mx"), r"\u001b[0;8mx");
        assert_eq!(styled("\x1b[?25m"), r"\u001b[?25m");
    }

    #[test]
    fn output_loses_what_moves_the_cursor() {
        for (written, left) in [
            ("\x1b[2K\x1b[1G50 %", "50 %"),
            ("\x1b]52;c;aGk=\x07x", "x"),
            (
                "\x1b]8;;https://example.invalid\x1b\\link\x1b]8;;\x1b\\",
                "link",
            ),
            ("\x1bPq#0\x1b\\x", "x"),
            ("\x1b(Bx\x1b7y\x1bcz", "xyz"),
            ("a\x07b\x08", "ab"),
            // Without an end it swallows nothing.
            ("\x1b]0;title", "]0;title"),
            ("\x1b[31", "[31"),
            ("\x1b", ""),
            ("\x1b[\u{fc}", "[\u{fc}"),
            // Bidirectional marks say something, so they are shown.
            ("\u{202e}x", r"\u202ex"),
        ] {
            assert_eq!(output(written), left, "{written:?}");
        }
        assert_eq!(words("\x1b[31mred\x1b[0m\tx\x1b[2K"), "red    x");
    }

    #[test]
    fn anything_at_all_comes_out_harmless() {
        proptest::proptest!(|(foreign in "[\x00-\x1f\\[\\]0-9;mKPX\\\\\u{80}-\u{9f}\u{202a}-\u{202e}a\n]*")| {
            assert!(!text(&foreign).chars().any(is_order));
            assert!(!words(&foreign).chars().any(is_order));
            for cleaned in [styled(&foreign), output(&foreign)] {
                let without = console::strip_ansi_codes(&cleaned).into_owned();
                assert!(!without.chars().any(is_order), "{foreign:?} became {cleaned:?}");
            }
        });
    }
}
