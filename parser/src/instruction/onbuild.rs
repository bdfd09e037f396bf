//! `ONBUILD`, and what can be said about the instruction in it.

use super::parts::Parts;
use super::{healthcheck, pairs};
use crate::ast::{Heredoc, InstructionKind, Onbuild};
use crate::diagnostic::Diagnostic;

/// Checks what can be said about an instruction inside `ONBUILD`: its argument form.
fn check_form(parts: &Parts<'_>) -> Result<(), Box<Diagnostic>> {
    match parts.keyword.to_ascii_uppercase().as_str() {
        "RUN" | "CMD" | "ENTRYPOINT" | "SHELL" | "COPY" | "ADD" | "VOLUME" => {
            parts.json().map(|_| ())
        }
        "HEALTHCHECK" => healthcheck::form(parts).map(|_| ()),
        "ENV" | "LABEL" => pairs::form(parts).map(|_| ()),
        _ => Ok(()),
    }
}

pub(super) fn parse(
    parts: &Parts<'_>,
    heredocs: &[Heredoc],
) -> Result<InstructionKind, Box<Diagnostic>> {
    let inner = parts.inner();
    check_form(&inner)?;
    if parts.arguments.is_empty() {
        return Err(parts.requires("at least one argument"));
    }
    parts.no_flags()?;
    match inner.keyword.to_ascii_uppercase().as_str() {
        "ONBUILD" => {
            let message = "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed";
            return Err(parts.error("onbuild", inner.keyword, message));
        }
        name @ ("FROM" | "MAINTAINER") => {
            let message = format!("{name} isn't allowed as an ONBUILD trigger");
            return Err(parts.error("onbuild", inner.keyword, message));
        }
        _ => {}
    }
    // Blanks at the end of the line are stored, too.
    let mut trigger = parts.line.from(parts.rest).to_owned();
    for heredoc in heredocs {
        trigger.push('\n');
        trigger.push_str(heredoc.verbatim());
        trigger.push_str(&heredoc.name);
    }
    let mut span = parts.line.span_of(parts.rest);
    if let Some(last) = heredocs.last() {
        span = span.cover(last.marker);
    }
    Ok(InstructionKind::Onbuild(Onbuild { trigger, span }))
}
