//! What of a tree survives printing.

use std::fmt::Debug;

/// Returns a tree as text without its places and joined lines, whose blanks differ.
pub(super) fn essence(tree: &impl Debug) -> String {
    let tree = format!("{tree:?}");
    let mut out = String::with_capacity(tree.len());
    let mut rest = tree.as_str();
    while !rest.is_empty() {
        if let Some(behind) = rest.strip_prefix("line: \"") {
            rest = &behind[string_length(behind)..];
        } else if rest.starts_with("Span {") {
            rest = &rest[rest.find('}').expect("a span ends") + 1..];
        } else if let Some(behind) = rest.strip_prefix("empty_continuation: ") {
            // `None` or `Some(Span { … })`, the last field of its struct.
            rest = match behind.strip_prefix("None") {
                Some(rest) => rest,
                None => &behind[behind.find("})").expect("a span ends") + 2..],
            };
        } else if let Some(behind) = rest.strip_prefix('"') {
            out.push('"');
            let (string, behind) = behind.split_at(string_length(behind));
            out.push_str(string);
            rest = behind;
        } else {
            let next = rest.chars().next().expect("there is more");
            out.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    out
}

/// Returns how long a string is whose opening quote has been read, its closing one included.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return index + 1,
            _ => {}
        }
    }
    text.len()
}
