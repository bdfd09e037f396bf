//! The part of a file a message is about, as plain text.

use std::fmt::Write as _;

use crate::reference::mask_logins;
use crate::span::Span;

/// Returns the lines around `spans` in the shape of spec section 13.1:
///
/// ```text
/// Dockerfile:2
/// --------------------
///    1 |     FROM scratch
///    2 | >>> COPY nofile /x
///    3 |     ENV c=d
/// --------------------
/// ```
///
/// Two lines of context stand on each side of a single line, one around several. Empty without
/// spans. Passwords in addresses are masked.
#[must_use]
pub fn excerpt(text: &[u8], file: &str, spans: &[Span]) -> String {
    let marked: Vec<(usize, usize)> = spans
        .iter()
        .map(|span| (span.line(text) as usize, span.last_line(text) as usize))
        .collect();
    let (Some(first), Some(last)) = (
        marked.iter().map(|(first, _)| *first).min(),
        marked.iter().map(|(_, last)| *last).max(),
    ) else {
        return String::new();
    };
    let context = if first == last { 2 } else { 1 };
    let mut out = format!("{file}:{first}\n{RULE}\n");
    let text = mask_logins(text);
    let lines = text.split(|byte| *byte == b'\n').enumerate();
    for (index, line) in lines
        .take(last + context)
        .skip(first.saturating_sub(context + 1))
    {
        let number = index + 1;
        let marked = marked
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&number));
        let mark = if marked { ">>>" } else { "   " };
        let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
        writeln!(out, " {number:3} | {mark} {line}").expect("writing to a String succeeds");
    }
    out.push_str(RULE);
    out.push('\n');
    out
}

const RULE: &str = "--------------------";

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    const TEXT: &str = "FROM scratch\nENV a=b\nCOPY nofile \\\r\n  /x\nENV c=d\nENV e=f\n";

    fn show(needle: &str) -> String {
        let start = TEXT.find(needle).unwrap();
        let span = Span::new(start as u32, (start + needle.len()) as u32);
        excerpt(TEXT.as_bytes(), "Dockerfile", &[span])
    }

    #[test]
    fn passwords_in_addresses_are_masked() {
        let text = b"ADD http://ann:s3cret@h/x /\nRUN curl https://t0ken@h/\n";
        let shown = excerpt(text, "Dockerfile", &[Span::new(0, 3)]);
        assert!(shown.contains("http://**********@h/x"), "{shown}");
        assert!(
            !shown.contains("s3cret") && !shown.contains("t0ken"),
            "{shown}"
        );
    }

    #[test]
    fn df_020_all_lines_of_an_instruction_are_marked() {
        assert_snapshot!(show("COPY nofile \\\r\n  /x"), @r"
        Dockerfile:3
        --------------------
           2 |     ENV a=b
           3 | >>> COPY nofile \
           4 | >>>   /x
           5 |     ENV c=d
        --------------------
        ");
    }

    #[test]
    fn single_lines_and_file_ends() {
        assert_snapshot!(show("ENV a=b"), @r"
        Dockerfile:2
        --------------------
           1 |     FROM scratch
           2 | >>> ENV a=b
           3 |     COPY nofile \
           4 |       /x
        --------------------
        ");
        // A final line feed leaves an empty last row.
        assert_snapshot!(show("ENV e=f").replace(" \n", "$\n"), @r"
        Dockerfile:6
        --------------------
           4 |       /x
           5 |     ENV c=d
           6 | >>> ENV e=f
           7 |    $
        --------------------
        ");
    }

    #[test]
    fn an_excerpt_marks_several_spans() {
        let text = b"a\nb\nc\nd\ne";
        let found = excerpt(text, "f", &[Span::new(4, 5), Span::new(0, 1)]);
        assert_snapshot!(found, @r"
        f:1
        --------------------
           1 | >>> a
           2 |     b
           3 | >>> c
           4 |     d
        --------------------
        ");
        assert_eq!(excerpt(text, "f", &[]), "");
        assert_eq!(excerpt(b"", "f", &[Span::default()]).lines().count(), 4);
    }
}
