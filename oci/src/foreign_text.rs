//! Words of strangers, made fit for one line of a message.
//!
//! A server's words end up in terminals and logs. They may not move the cursor, change colours, turn
//! the direction of writing, hide themselves, or go on for pages.

/// Characters of a stranger's text which are worth showing.
const SHOWN: usize = 256;

/// Returns the text on one line, shortened, without control characters and invisible letters.
#[must_use]
pub fn one_line(text: &str) -> String {
    let mut line = String::new();
    let words = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .map(|word| word.chars().filter(|&c| !is_invisible(c)))
        .filter(|word| word.clone().next().is_some());
    for word in words {
        if !line.is_empty() {
            line.push(' ');
        }
        line.extend(word);
    }
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => {
            line.truncate(end);
            line
        }
        None => line,
    }
}

/// Says whether a character only does something to its neighbours: turns them around (UAX #9), joins
/// or parts them, or is an invisible letter. Unicode's general category Cf, without what Arabic
/// and other scripts write numbers with.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_left_out() {
        for (text, expected) in [
            (
                "<html>\n<b>Bad\x1b[2J gateway</b>",
                "<html> <b>Bad [2J gateway</b>",
            ),
            ("a\u{202e}gnp.exe\u{202c}", "agnp.exe"),
            ("a\u{9b}2Jb\r\u{2028}c\u{85}d", "a 2Jb c d"),
            ("\u{200b} x \u{feff}", "x"),
            ("größe 日本", "größe 日本"),
            ("", ""),
        ] {
            assert_eq!(one_line(text), expected, "{text:?}");
        }
        assert_eq!(one_line(&"ü".repeat(1000)), "ü".repeat(SHOWN));
    }
}
