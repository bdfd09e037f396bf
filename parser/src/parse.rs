//! A whole file to a tree and its diagnostics.

use crate::ast::{Dockerfile, Instruction, InstructionKind, Stage};
use crate::diagnostic::{Diagnostic, MAX_ERRORS, Origin};
use crate::directives;
use crate::heredoc;
use crate::instruction::{self, Item, Outcome, Parts};
use crate::lines::Lines;
use crate::logical::{LogicalLine, LogicalLines};
use crate::span::Span;

/// The result of parsing a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// The tree. Instructions with errors are missing from it.
    pub dockerfile: Dockerfile,
    /// The errors in file order.
    pub diagnostics: Vec<Diagnostic>,
}

/// Parses a Dockerfile.
///
/// Never fails: an instruction that cannot be understood becomes a diagnostic, and the next one is
/// looked at. The tree means what the file says only if there is no error among the diagnostics.
#[must_use]
pub fn parse(text: &[u8]) -> Parsed {
    let mut parsed = Parsed::default();
    let mut lines = Lines::new(text);
    parsed.dockerfile.directives = directives::read(&mut lines, &mut parsed.diagnostics);
    let mut lines = LogicalLines::new(lines, parsed.dockerfile.directives.escape);
    let mut any = false;
    let mut outside_reported = false;
    while parsed.diagnostics.len() < MAX_ERRORS
        && let Some(line) = next_instruction(&mut lines, &mut parsed.diagnostics)
    {
        any = true;
        let escape = parsed.dockerfile.directives.escape;
        let (item, problem) = item(&line, &mut lines, escape, &mut parsed.diagnostics);
        parsed.diagnostics.extend(problem.map(|problem| *problem));
        let Some(item) = item else { continue };
        match (item, parsed.dockerfile.stages.last_mut()) {
            (Item::From(from), _) => {
                parsed.dockerfile.stages.push(Stage {
                    from,
                    instructions: vec![],
                });
            }
            (Item::Instruction(instruction), Some(stage)) => stage.instructions.push(instruction),
            (
                Item::Instruction(Instruction {
                    kind: InstructionKind::Arg(arg),
                    ..
                }),
                None,
            ) => {
                parsed.dockerfile.global_args.push(arg);
            }
            (Item::Instruction(instruction), None) if !outside_reported => {
                outside_reported = true;
                parsed.diagnostics.push(
                    Diagnostic::error(
                        Origin::Lexing,
                        "no-stage",
                        instruction.site.span,
                        "no build stage in current context",
                    )
                    .note("before the first FROM there can only be ARG"),
                );
            }
            (Item::Instruction(_), None) => {}
        }
    }
    if parsed.diagnostics.is_empty() {
        parsed
            .diagnostics
            .extend(nothing_to_build(text, any, &parsed.dockerfile));
    }
    parsed
}

/// Parses one instruction that does not stand in a file, such as an `ONBUILD` trigger of an image.
///
/// Bodies of its heredocs follow on further lines. Spans count from the start of `text`.
///
/// # Errors
/// The first mistake in it.
pub fn parse_instruction(text: &str, escape: char) -> Result<Instruction, Box<Diagnostic>> {
    let mut diagnostics = Vec::new();
    let mut lines = LogicalLines::new(Lines::new(text.as_bytes()), escape);
    let (item, problem) = match next_instruction(&mut lines, &mut diagnostics) {
        Some(line) => item(&line, &mut lines, escape, &mut diagnostics),
        None => (None, None),
    };
    let whole = Span::new(0, u32::try_from(text.len()).unwrap_or(u32::MAX));
    let fail = |message: &str| {
        Box::new(Diagnostic::error(
            Origin::Grammar { line: 1 },
            "onbuild",
            whole,
            message,
        ))
    };
    let more = next_instruction(&mut lines, &mut diagnostics).is_some();
    match (diagnostics.pop().map(Box::new).or(problem), item) {
        (Some(problem), _) => Err(problem),
        (None, None) => Err(fail("file with no instructions")),
        (None, Some(Item::From(_))) => Err(fail("FROM isn't allowed as an ONBUILD trigger")),
        (None, Some(_)) if more => Err(fail("a trigger holds one instruction")),
        (None, Some(Item::Instruction(instruction))) => Ok(instruction),
    }
}

/// Returns the next line with anything on it: a lone escape token at the end of a file is nothing.
fn next_instruction(
    lines: &mut LogicalLines<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<LogicalLine> {
    loop {
        let line = lines.next(diagnostics)?;
        if !line.text.trim().is_empty() {
            return Some(line);
        }
    }
}

/// Reads the bodies that belong to a line, then parses it.
fn item(
    line: &LogicalLine,
    lines: &mut LogicalLines<'_>,
    escape: char,
    diagnostics: &mut Vec<Diagnostic>,
) -> Outcome {
    let parts = Parts::of(line, escape);
    let mut heredocs = if parts.may_hold_heredocs() {
        heredoc::markers(line)
    } else {
        Vec::new()
    };
    let mut end = line.span.end;
    for heredoc in &mut heredocs {
        match heredoc::read_body(heredoc, lines, diagnostics) {
            Some(body_end) => end = body_end,
            None => {
                let note = format!("no line below holds just `{}`", heredoc.name);
                let message = "unterminated heredoc";
                let problem = Diagnostic::error(Origin::Lexing, "heredoc", heredoc.marker, message);
                return (None, Some(Box::new(problem.note(note).within(line.span))));
            }
        }
    }
    let site = parts.site(end);
    let lines = site.span;
    let (item, problem) = instruction::parse(&parts, heredocs, site);
    (item, problem.map(|problem| Box::new(problem.within(lines))))
}

/// Says why a file without errors still builds nothing.
fn nothing_to_build(text: &[u8], any: bool, dockerfile: &Dockerfile) -> Option<Diagnostic> {
    let (code, span, message) = if text.is_empty() {
        ("empty", Span::default(), "the Dockerfile cannot be empty")
    } else if !any {
        ("empty", Span::default(), "file with no instructions")
    } else if dockerfile.stages.is_empty() {
        let span = dockerfile
            .global_args
            .last()
            .map(|arg| arg.site.span)
            .unwrap_or_default();
        ("no-stage", span, "dockerfile contains no stages to build")
    } else {
        return None;
    };
    Some(Diagnostic::error(Origin::Lexing, code, span, message))
}

#[cfg(test)]
mod robustness;
#[cfg(test)]
mod tests;
