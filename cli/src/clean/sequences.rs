//! What a terminal obeys.

/// Ends all colours.
pub(super) const RESET: &str = "\x1b[0m";

/// Says whether a terminal, or a person, takes a character for something else than itself.
pub(super) fn is_order(character: char) -> bool {
    match character {
        '\n' | '\t' => false,
        // Embeddings, overrides and isolates; separators that some terminals take for line feeds.
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}' => true,
        other => other.is_control(),
    }
}

/// Returns the escape sequence that text begins with, as far as its line goes (ECMA-48, sections
/// 5.3 to 5.6). None if it has no end.
pub(super) fn sequence(text: &str) -> Option<&str> {
    let line = text.split('\n').next().unwrap_or(text);
    let bytes = line.as_bytes();
    let end = match bytes.get(1)? {
        // A control sequence: parameters, intermediate bytes, a final byte.
        b'[' => {
            let body = bytes.get(2..)?;
            let length = body.iter().position(|byte| !(0x20..=0x3f).contains(byte))?;
            (0x40..=0x7e).contains(&body[length]).then_some(length + 3)
        }
        // A control string, ended by a string terminator, or by a bell as xterm has it.
        b']' | b'P' | b'X' | b'^' | b'_' => {
            let bell = line.find('\x07').map(|at| at + 1);
            let terminator = line[2..].find("\x1b\\").map(|at| at + 4);
            match (bell, terminator) {
                (Some(bell), Some(terminator)) => Some(bell.min(terminator)),
                (bell, terminator) => bell.or(terminator),
            }
        }
        // Anything else: intermediate bytes and a final byte.
        _ => {
            let body = &bytes[1..];
            let length = body.iter().position(|byte| !(0x20..=0x2f).contains(byte))?;
            (0x30..=0x7e).contains(&body[length]).then_some(length + 2)
        }
    };
    line.get(..end?)
}

/// Says whether a sequence sets colours or weights. One that hides text is none.
pub(super) fn is_colour(sequence: &str) -> bool {
    let Some(parameters) = sequence
        .strip_prefix("\x1b[")
        .and_then(|rest| rest.strip_suffix('m'))
    else {
        return false;
    };
    let is_number = |byte: u8| byte.is_ascii_digit() || byte == b';' || byte == b':';
    if !parameters.bytes().all(is_number) {
        return false;
    }
    let mut numbers = parameters
        .split([';', ':'])
        .map(|number| number.trim_start_matches('0'));
    while let Some(number) = numbers.next() {
        match number {
            "8" => return false,
            // Colours of a table or by their parts bring numbers of their own.
            "38" | "48" | "58" => match numbers.next() {
                Some("5") => drop(numbers.next()),
                Some("2") => drop(numbers.nth(2)),
                _ => {}
            },
            _ => {}
        }
    }
    true
}
