//! Parser directives: `# name=value` lines at the very top of the file.
//!
//! The first line that is not a known directive ends them for good, so a directive below an
//! ordinary comment is an ordinary comment too.

use nom::bytes::complete::tag;
use nom::character::complete::{alpha1, alphanumeric0, char, multispace0};
use nom::combinator::{recognize, rest};
use nom::sequence::{delimited, preceded, separated_pair};
use nom::{IResult, Parser};

use crate::ast::{Directives, Text};
use crate::diagnostic::{Diagnostic, MAX_ERRORS, Origin};
use crate::lines::{Lines, offset};
use crate::span::Span;

const CODE: &str = "directive";

/// Reads the directives and leaves `lines` at the first line that is none.
pub(crate) fn read(lines: &mut Lines<'_>, diagnostics: &mut Vec<Diagnostic>) -> Directives {
    let mut directives = Directives::default();
    let mut seen: Vec<(&'static str, Span)> = Vec::new();
    while diagnostics.len() < MAX_ERRORS
        && let Some(line) = lines.peek()
    {
        let Ok(content) = str::from_utf8(line.content()) else {
            break;
        };
        let Some((name, value)) = directive("#", content) else {
            break;
        };
        let Some(name) = known(name) else { break };
        lines.next();

        let start = line.start + offset(content.len() - content.trim_start().len());
        let whole = Span::new(start, line.end());
        if let Some((_, first)) = seen.iter().find(|(other, _)| *other == name) {
            let message = format!("only one {name} parser directive can be used");
            diagnostics.push(
                Diagnostic::error(Origin::Lexing, CODE, whole, message)
                    .label(*first, "the first one is here"),
            );
            continue;
        }
        seen.push((name, whole));

        let value_start = line.start + offset(value.as_ptr() as usize - content.as_ptr() as usize);
        let span = Span::new(value_start, value_start + offset(value.len()));
        let text = Text {
            raw: value.to_owned(),
            span,
        };
        match name {
            "syntax" => directives.syntax = Some(text),
            "check" => directives.check = Some(text),
            _ => match value {
                "\\" => directives.escape = '\\',
                "`" => directives.escape = '`',
                _ => {
                    let message = format!("invalid escape token '{value}' does not match ` or \\");
                    diagnostics.push(Diagnostic::error(Origin::Lexing, CODE, span, message));
                }
            },
        }
    }
    directives
}

/// Returns the value of the `syntax` directive in any of its spellings.
///
/// Beside `# syntax=…` these are `// syntax=…` and a JSON object with a `syntax` member, each also
/// behind a `#!` line: files that name their frontend need not be Dockerfiles.
#[must_use]
pub fn syntax_image(text: &[u8]) -> Option<String> {
    let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
    let text = if text.starts_with(b"#!") {
        let end = text.iter().position(|byte| *byte == b'\n')?;
        &text[end + 1..]
    } else {
        text
    };
    in_comments("#", text)
        .or_else(|| in_comments("//", text))
        .or_else(|| {
            let object: serde_json::Map<String, serde_json::Value> =
                serde_json::from_slice(text).ok()?;
            object.get("syntax")?.as_str().map(str::to_owned)
        })
}

/// Returns whether the value of a `syntax` directive asks for what is built in: any release of the
/// reference frontend. Others would have to be fetched and run.
#[must_use]
pub fn is_builtin_syntax(value: &str) -> bool {
    let image = value.split(' ').next().unwrap_or_default();
    let image = image.strip_prefix("docker.io/").unwrap_or(image);
    let suffix = image.strip_prefix("docker/dockerfile");
    image == "dockerfile.v0"
        || suffix.is_some_and(|suffix| suffix.is_empty() || suffix.starts_with([':', '@', '-']))
}

fn in_comments(marker: &str, text: &[u8]) -> Option<String> {
    for line in Lines::new(text) {
        let (name, value) = directive(marker, str::from_utf8(line.content()).ok()?)?;
        if known(name)? == "syntax" {
            return Some(value.to_owned());
        }
    }
    None
}

fn known(name: &str) -> Option<&'static str> {
    ["syntax", "escape", "check"]
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(name))
}

/// Splits `# name = value`.
fn directive<'a>(marker: &str, line: &'a str) -> Option<(&'a str, &'a str)> {
    let parsed: IResult<&str, (&str, &str)> = preceded(
        (multispace0, tag(marker), multispace0),
        separated_pair(
            recognize((alpha1, alphanumeric0)),
            delimited(multispace0, char('='), multispace0),
            rest,
        ),
    )
    .parse(line);
    let (_, (name, value)) = parsed.ok()?;
    let value = value.trim_end();
    (!value.is_empty()).then_some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directives(text: &str) -> (Directives, Vec<String>, Option<u32>) {
        let mut lines = Lines::new(text.as_bytes());
        let mut diagnostics = Vec::new();
        let directives = read(&mut lines, &mut diagnostics);
        let messages = diagnostics
            .into_iter()
            .map(|diagnostic| diagnostic.message)
            .collect();
        (directives, messages, lines.next().map(|line| line.number))
    }

    #[test]
    fn df_018_case_and_blanks_do_not_matter() {
        let (found, messages, next) = directives(
            "#  Syntax = docker/dockerfile:1 \r\n# ESCAPE\t=`\n#check=skip=all\nFROM x\n",
        );
        assert_eq!(found.escape, '`');
        assert_eq!(found.syntax.unwrap().raw, "docker/dockerfile:1");
        let check = found.check.unwrap();
        assert_eq!(check.raw, "skip=all");
        assert_eq!(check.span, Span::new(53, 61));
        assert_eq!((messages, next), (vec![], Some(4)));
    }

    #[test]
    fn df_015_invalid_escape_token() {
        let (found, messages, _) = directives("# escape=x\n");
        assert_eq!(found.escape, '\\');
        assert_eq!(
            messages,
            [r"invalid escape token 'x' does not match ` or \"]
        );
    }

    #[test]
    fn df_016_repeated_directive() {
        let (_, messages, next) = directives("# escape=\\\n# escape=`\nFROM a\n");
        assert_eq!(messages, ["only one escape parser directive can be used"]);
        assert_eq!(next, Some(3));
    }

    #[test]
    fn a_repeated_directive_is_marked_without_the_blanks_before_it() {
        let text = "# escape=\\\n  # escape=`\nFROM a\n";
        let mut diagnostics = Vec::new();
        read(&mut Lines::new(text.as_bytes()), &mut diagnostics);
        let span = diagnostics[0].span;
        assert_eq!(&text[span.start as usize..span.end as usize], "# escape=`");
    }

    #[test]
    fn df_017_other_lines_end_the_directives() {
        for first in [
            "# hello\n",
            "\n",
            "# unknown=1\n",
            "FROM a\n",
            "# escape=\n",
        ] {
            let (found, messages, next) = directives(&format!("{first}# escape=`\n"));
            assert_eq!(
                (found.escape, messages.len(), next),
                ('\\', 0, Some(1)),
                "{first:?}"
            );
        }
    }

    #[test]
    fn frontends_of_docker_are_built_in() {
        for value in [
            "docker/dockerfile",
            "docker/dockerfile:1.7-labs",
            "docker.io/docker/dockerfile-upstream:master",
            "docker/dockerfile@sha256:0 --x",
            "dockerfile.v0",
        ] {
            assert!(is_builtin_syntax(value), "{value}");
        }
        for value in [
            "",
            "docker/dockerfiles",
            "example.com/docker/dockerfile",
            "other/frontend",
        ] {
            assert!(!is_builtin_syntax(value), "{value}");
        }
    }

    #[test]
    fn syntax_in_other_spellings() {
        #[track_caller]
        fn check(text: &str, expected: Option<&str>) {
            assert_eq!(syntax_image(text.as_bytes()).as_deref(), expected);
        }
        check("# syntax=a/b c\nFROM x", Some("a/b c"));
        check("#!/bin/sh\n# syntax=a", Some("a"));
        check("// syntax = a", Some("a"));
        check("#!/x\n{\"syntax\": \"a\"}", Some("a"));
        check("# escape=`\n# syntax=a", Some("a"));
        check("FROM x\n# syntax=a", None);
        check("#!/bin/sh", None);
        check("{\"syntax\": 1}", None);
    }
}
