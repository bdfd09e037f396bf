//! `COPY` and `ADD`.

use super::parts::Parts;
use crate::ast::{Add, Copy, CopyFlags, Heredoc, InstructionKind, Source, Text};
use crate::diagnostic::{Diagnostic, Origin};
use crate::flags::Takes::{Switch, Value, Values};
use crate::flags::{Flags, Takes};
use crate::heredoc;
use crate::words;

pub(super) fn copy(
    parts: &Parts<'_>,
    heredocs: Vec<Heredoc>,
) -> Result<InstructionKind, Box<Diagnostic>> {
    let words = arguments(parts)?;
    let mut flags = check_flags(parts, &[("from", Value), ("parents", Switch)])?;
    let (sources, destination) = sources_and_destination(parts, words, heredocs)?;
    let from = flags.value("from");
    if let Some(name) = from.as_ref().filter(|from| has_variable(&from.raw)) {
        let message = "variable expansion is not supported for --from, define a new stage with \
                       FROM using ARG from global scope as a workaround";
        let mut problem = parts.error("variable", parts.keyword, message);
        problem.span = name.span;
        return Err(problem);
    }
    Ok(InstructionKind::Copy(Copy {
        sources,
        destination,
        flags: common(&mut flags),
        from,
        parents: flags.switch("parents").unwrap_or(false),
    }))
}

pub(super) fn add(
    parts: &Parts<'_>,
    heredocs: Vec<Heredoc>,
) -> Result<InstructionKind, Box<Diagnostic>> {
    let words = arguments(parts)?;
    let own = [
        ("checksum", Value),
        ("keep-git-dir", Switch),
        ("unpack", Switch),
    ];
    let mut flags = check_flags(parts, &own)?;
    let (sources, destination) = sources_and_destination(parts, words, heredocs)?;
    Ok(InstructionKind::Add(Add {
        sources,
        destination,
        flags: common(&mut flags),
        checksum: flags.value("checksum"),
        keep_git_dir: flags.switch("keep-git-dir"),
        unpack: flags.switch("unpack"),
    }))
}

/// Checks the flags of `COPY` or `ADD`, which has `own` besides those in common.
fn check_flags(parts: &Parts<'_>, own: &[(&'static str, Takes)]) -> Result<Flags, Box<Diagnostic>> {
    let common = [
        ("chmod", Value),
        ("chown", Value),
        ("exclude", Values),
        ("link", Switch),
    ];
    parts.check_flags(&[&common, own].concat())
}

/// Takes the flags that `COPY` and `ADD` have in common.
fn common(flags: &mut Flags) -> CopyFlags {
    CopyFlags {
        chown: flags.value("chown"),
        chmod: flags.value("chmod"),
        link: flags.switch("link").unwrap_or(false),
        excludes: flags.values("exclude"),
    }
}

/// A word, and whether it may be a heredoc's marker.
type Word = (Text, Option<Heredoc>);

fn arguments(parts: &Parts<'_>) -> Result<Vec<Word>, Box<Diagnostic>> {
    let words: Vec<Word> = match parts.json()? {
        Some(strings) => strings
            .into_iter()
            .map(|(raw, slice)| {
                (
                    Text {
                        raw,
                        span: parts.line.span_of(slice),
                    },
                    None,
                )
            })
            .collect(),
        None => words::plain(parts.arguments)
            .into_iter()
            .map(|word| (parts.line.text_of(word), heredoc::marker(word)))
            .collect(),
    };
    if words.len() < 2 {
        return Err(parts.requires(
            "at least two arguments, but only one was provided. Destination could not be \
             determined",
        ));
    }
    Ok(words)
}

fn sources_and_destination(
    parts: &Parts<'_>,
    mut words: Vec<Word>,
    heredocs: Vec<Heredoc>,
) -> Result<(Vec<Source>, Text), Box<Diagnostic>> {
    let (destination, marker) = words.pop().expect("there are at least two words");
    if marker.is_some() {
        let message = format!(
            "{} cannot accept a heredoc as a destination",
            parts.keyword.to_uppercase()
        );
        let mut problem = parts.error("heredoc", parts.keyword, message);
        problem.span = destination.span;
        return Err(problem);
    }
    let origin = Origin::Grammar {
        line: parts.line.number,
    };
    let mut heredocs = heredocs.into_iter().peekable();
    let sources = words
        .into_iter()
        .map(|(text, marker)| match marker {
            None => Ok(Source::Path(text)),
            Some(_) => match heredocs.next_if(|heredoc| heredoc.marker == text.span) {
                Some(heredoc) => Ok(Source::Heredoc(heredoc)),
                None => Err(match heredocs.peek() {
                    Some(skipped) if skipped.marker.start < text.span.start => {
                        heredoc::holds_blank(skipped, origin)
                    }
                    _ => heredoc::hidden(parts.line, text, origin),
                }),
            },
        })
        .collect::<Result<_, _>>()?;
    if let Some(unused) = heredocs.next() {
        return Err(heredoc::holds_blank(&unused, origin));
    }
    Ok((sources, destination))
}

/// Returns whether a text has a `$` with something behind it.
pub(super) fn has_variable(text: &str) -> bool {
    text.find('$').is_some_and(|index| index + 1 < text.len())
}
