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
/// spans. Of a long instruction the first lines stand there, and where the rest is. Passwords in
/// addresses are masked.
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
    let end = last + context;
    let is_long = end.saturating_sub(first) > MOST_LINES;
    for (index, line) in lines.take(end).skip(first.saturating_sub(context + 1)) {
        let number = index + 1;
        if is_long && number >= first + SHOWN_LINES {
            let left = last - (number - 1);
            writeln!(out, " ... | {left} more lines, up to {file}:{last}").expect(NO_FAILURE);
            break;
        }
        let marked = marked
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&number));
        let mark = if marked { ">>>" } else { "   " };
        let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
        let (line, rest) = match line.char_indices().nth(LONGEST_LINE) {
            Some((end, _)) => (&line[..end], "..."),
            None => (&*line, ""),
        };
        writeln!(out, " {number:3} | {mark} {line}{rest}").expect(NO_FAILURE);
    }
    out.push_str(RULE);
    out.push('\n');
    out
}

const RULE: &str = "--------------------";

/// Lines of a long instruction, such as a script in a heredoc, that are all shown.
const MOST_LINES: usize = 60;
/// Lines that are shown of one with more.
const SHOWN_LINES: usize = 40;
/// Characters that are shown of a line.
const LONGEST_LINE: usize = 2000;

const NO_FAILURE: &str = "writing to a String succeeds";

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
    fn a_long_instruction_is_shown_in_part_with_the_place_of_the_rest() {
        let text = format!("FROM a\nRUN x\\\n{}  end\nENV b=c\n", "  y \\\n".repeat(98));
        let end = text.find("end").unwrap() as u32 + 3;
        let shown = excerpt(text.as_bytes(), "Dockerfile", &[Span::new(7, end)]);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines.len(), 2 + 1 + 40 + 1 + 1, "{shown}");
        assert_eq!(lines[42], "  41 | >>>   y \\");
        assert_eq!(lines[43], " ... | 60 more lines, up to Dockerfile:101");
        let text = format!("RUN x{}\n", "é".repeat(5000));
        let shown = excerpt(text.as_bytes(), "Dockerfile", &[Span::new(0, 10)]);
        let line = shown.lines().nth(2).unwrap();
        assert!(line.ends_with("éé..."), "{line}");
        assert_eq!(line.chars().count(), "   1 | >>> ".len() + 2000 + 3);
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
