//! Here-documents: `<<EOF` and the lines that follow it.
//!
//! Markers are found by splitting the instruction's line the way a shell would, always with the
//! backslash as escape, so that `<<` inside quotes or `$((…))` is left alone.

use nom::bytes::complete::{tag, take_while};
use nom::character::complete::{char, digit0};
use nom::combinator::{opt, rest, verify};
use nom::{IResult, Parser};

use crate::ast::{Heredoc, Text};
use crate::diagnostic::{Diagnostic, Origin};
use crate::logical::{LogicalLine, LogicalLines, invalid_utf8};
use crate::quote::quote;
use crate::span::Span;

/// Returns the heredocs whose markers stand in the line, bodies still empty.
pub(crate) fn markers(line: &LogicalLine) -> Vec<Heredoc> {
    if !line.text.contains("<<") {
        return Vec::new();
    }
    shell_words(&line.text)
        .unwrap_or_default()
        .into_iter()
        .filter_map(|word| {
            let mut heredoc = marker(word)?;
            heredoc.marker = line.span_of(word);
            Some(heredoc)
        })
        .collect()
}

/// Returns whether the whole text is one marker.
pub(crate) fn is_marker(text: &str) -> bool {
    marker(text).is_some()
}

/// Parses one word as a marker.
pub(crate) fn marker(word: &str) -> Option<Heredoc> {
    let parsed: IResult<&str, _> = (
        digit0,
        tag("<<"),
        opt(char('-')),
        take_while(char::is_whitespace),
        verify(rest, |delimiter: &str| !delimiter.contains('<')),
    )
        .parse(word);
    let (_, (descriptor, _, chomp, _, delimiter)) = parsed.ok()?;
    let (name, quoted) = unquote(delimiter)?;
    Some(Heredoc {
        name,
        file_descriptor: if descriptor.is_empty() {
            0
        } else {
            descriptor.parse().unwrap_or(u32::MAX)
        },
        expand: !quoted,
        chomp: chomp.is_some(),
        body: String::new(),
        unstripped: None,
        marker: Span::default(),
    })
}

/// An error for a word that looks like a marker where a shell would see none: no body follows it.
pub(crate) fn hidden(line: &LogicalLine, marker: Text, origin: Origin) -> Box<Diagnostic> {
    let code = "heredoc";
    let word = &marker.raw;
    Box::new(match shell_words(&line.text) {
        Err((from, unclosed)) => {
            let at = line.span_of(from);
            Diagnostic::error(origin, code, at, unclosed.to_string()).note(format!(
                "no heredoc is looked for in such a line, so `{word}` has no body"
            ))
        }
        Ok(_) => {
            let message = format!("heredoc {} is quoted and has no body", quote(word));
            Diagnostic::error(origin, code, marker.span, message)
                .note("a quote or a backslash in front makes it part of a longer word")
        }
    })
}

/// An error for a heredoc that only a shell can see: its marker is not one word.
pub(crate) fn holds_blank(heredoc: &Heredoc, origin: Origin) -> Box<Diagnostic> {
    let name = quote(&heredoc.name);
    let message = format!("the marker of heredoc {name} must not hold a blank");
    Box::new(
        Diagnostic::error(origin, "heredoc", heredoc.marker, message)
            .note("only RUN, whose text a shell splits, takes a blank there"),
    )
}

/// Reads the body up to its terminator. Returns the terminator's line end, or `None` without one.
pub(crate) fn read_body(
    heredoc: &mut Heredoc,
    lines: &mut LogicalLines<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<u32> {
    let mut body = String::new();
    let mut stripped = String::new();
    let mut invalid = None;
    let end = loop {
        let Some(line) = lines.physical(diagnostics) else {
            break None;
        };
        let content = line.content();
        let name = if heredoc.chomp {
            without_tabs(content)
        } else {
            content
        };
        if name == heredoc.name.as_bytes() {
            break Some(line.end());
        }
        let text = match str::from_utf8(line.bytes) {
            Ok(text) => text.into(),
            Err(error) => {
                let start = line.start + crate::lines::offset(error.valid_up_to());
                invalid.get_or_insert(Span::new(start, start + 1));
                String::from_utf8_lossy(line.bytes)
            }
        };
        if heredoc.chomp {
            stripped.push_str(text.trim_start_matches('\t'));
        }
        body.push_str(&text);
    };
    diagnostics.extend(invalid.map(invalid_utf8));
    if heredoc.chomp && stripped != body {
        heredoc.unstripped = Some(body);
        heredoc.body = stripped;
    } else {
        heredoc.body = body;
    }
    end
}

fn without_tabs(mut content: &[u8]) -> &[u8] {
    while let [b'\t', rest @ ..] = content {
        content = rest;
    }
    content
}

/// The end that is missing in a text that is no sequence of words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Unclosed {
    #[error("unexpected end of statement while looking for matching single-quote")]
    Single,
    #[error("unexpected end of statement while looking for matching double-quote")]
    Double,
    #[error("syntax error: missing '}}'")]
    Brace,
}

type Characters<'a> = std::iter::Peekable<std::str::CharIndices<'a>>;

/// Splits at blanks outside quotes, escapes and `${…}`. Blanks behind a bare `<<` do not split.
///
/// # Errors
/// The text from the quote or substitution that is not closed, and what it lacks. The line then
/// has no heredocs, and the shell that gets it reports the mistake.
fn shell_words(text: &str) -> Result<Vec<&str>, (&str, Unclosed)> {
    let mut words = Vec::new();
    let mut start = None;
    let mut characters = text.char_indices().peekable();
    while let Some((index, character)) = characters.next() {
        if character.is_whitespace() {
            let Some(begun) = start else { continue };
            if is_bare_marker(&text[begun..index]) {
                while characters.next_if(|(_, c)| c.is_whitespace()).is_some() {}
            } else {
                words.push(&text[begun..index]);
                start = None;
            }
            continue;
        }
        start.get_or_insert(index);
        let skipped = match character {
            '$' if characters.next_if(|(_, c)| *c == '{').is_some() => skip_braces(&mut characters),
            _ => skip_quoted(character, &mut characters),
        };
        skipped.map_err(|unclosed| (&text[index..], unclosed))?;
    }
    words.extend(start.map(|start| &text[start..]));
    Ok(words)
}

/// Skips what the character just read quotes, if it quotes anything.
fn skip_quoted(character: char, characters: &mut Characters<'_>) -> Result<(), Unclosed> {
    match character {
        '\\' => {
            characters.next();
            Ok(())
        }
        '\'' if characters.any(|(_, c)| c == '\'') => Ok(()),
        '\'' => Err(Unclosed::Single),
        '"' => skip_double_quoted(characters),
        _ => Ok(()),
    }
}

/// Skips to the closing quote.
fn skip_double_quoted(characters: &mut Characters<'_>) -> Result<(), Unclosed> {
    while let Some((_, character)) = characters.next() {
        match character {
            '"' => return Ok(()),
            '\\' => {
                characters.next();
            }
            _ => {}
        }
    }
    Err(Unclosed::Double)
}

/// Skips to the brace that closes a substitution.
fn skip_braces(characters: &mut Characters<'_>) -> Result<(), Unclosed> {
    let mut depth = 1;
    while let Some((_, character)) = characters.next() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => skip_quoted(character, characters)?,
        }
        if depth == 0 {
            return Ok(());
        }
    }
    Err(Unclosed::Brace)
}

fn is_bare_marker(word: &str) -> bool {
    let behind = word.trim_start_matches(|c: char| c.is_ascii_digit());
    matches!(behind, "<<" | "<<-")
}

/// Takes quotes and escapes off a delimiter; returns it and whether any part was quoted.
///
/// `None` if it is empty, more than one word, or its quotes are not closed.
fn unquote(delimiter: &str) -> Option<(String, bool)> {
    let mut name = String::new();
    let mut quoted = false;
    let mut characters = delimiter.chars();
    while let Some(character) = characters.next() {
        match character {
            '\'' => {
                quoted = true;
                loop {
                    match characters.next()? {
                        '\'' => break,
                        inner => name.push(inner),
                    }
                }
            }
            '"' => {
                quoted = true;
                loop {
                    match characters.next()? {
                        '"' => break,
                        '\\' => match characters.next()? {
                            escaped @ ('"' | '$' | '\\') => name.push(escaped),
                            other => name.extend(['\\', other]),
                        },
                        inner => name.push(inner),
                    }
                }
            }
            '\\' => name.extend(characters.next()),
            blank if blank.is_whitespace() => {
                return characters
                    .all(char::is_whitespace)
                    .then_some((name, quoted));
            }
            other => name.push(other),
        }
    }
    (!name.is_empty()).then_some((name, quoted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_told_from_other_words() {
        #[track_caller]
        fn check(word: &str, expected: Option<(&str, u32, bool, bool)>) {
            let found = marker(word);
            let found = found.as_ref().map(|found| {
                (
                    &*found.name,
                    found.file_descriptor,
                    found.expand,
                    found.chomp,
                )
            });
            assert_eq!(found, expected);
        }
        check("<<EOF", Some(("EOF", 0, true, false)));
        check("<<-EOF", Some(("EOF", 0, true, true)));
        check("3<<EOF", Some(("EOF", 3, true, false))); // DF-041
        check("<<\"EOF\"", Some(("EOF", 0, false, false))); // DF-033
        check("<<'E F'", Some(("E F", 0, false, false)));
        check("<<E\"O\"F", Some(("EOF", 0, false, false)));
        check("<<E\\OF", Some(("EOF", 0, true, false)));
        check("<< EOF", Some(("EOF", 0, true, false)));
        check("<<\u{c}EOF", Some(("EOF", 0, true, false)));
        check("<<$X", Some(("$X", 0, true, false)));
        check("<<", None);
        check("<<\"\"", None);
        check("<<<EOF", None);
        check("<<A<<B", None);
        check("x<<EOF", None);
        check("$((1<<2))", None); // DF-044
        check("<<'EOF", None);
        check("<<a b", None);
        check("99999999999<<a", Some(("a", u32::MAX, true, false)));
    }

    #[test]
    fn words_as_a_shell_sees_them() {
        #[track_caller]
        fn check(text: &str, expected: &[&str]) {
            assert_eq!(shell_words(text), Ok(expected.to_vec()));
        }
        check("cat <<A <<-B >x", &["cat", "<<A", "<<-B", ">x"]);
        check("cat << A b", &["cat", "<< A", "b"]);
        check("3<<- A", &["3<<- A"]);
        check(
            r#"echo "<<A" '<<B' \<<C"#,
            &["echo", "\"<<A\"", "'<<B'", "\\<<C"],
        );
        check("echo ${x:-a <<B} c", &["echo", "${x:-a <<B}", "c"]);
        check("\"a\\\" b\" c", &["\"a\\\" b\"", "c"]);
        check("<<", &["<<"]);
    }

    #[test]
    fn words_that_do_not_end() {
        #[track_caller]
        fn check(text: &str, from: &str, unclosed: Unclosed) {
            assert_eq!(shell_words(text), Err((from, unclosed)));
        }
        check("it's <<A", "'s <<A", Unclosed::Single);
        check("a \"b\\\"", "\"b\\\"", Unclosed::Double);
        check("${x <<A", "${x <<A", Unclosed::Brace);
        check("${x'} <<A", "${x'} <<A", Unclosed::Single);
    }
}
