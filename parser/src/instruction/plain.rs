//! Instructions whose arguments are one text or a list of words.

use super::parts::Parts;
use crate::ast::{InstructionKind, Text};
use crate::diagnostic::Diagnostic;
use crate::words;

/// The whole rest as one argument, which must be there.
pub(super) fn rest(parts: &Parts<'_>) -> Result<Text, Box<Diagnostic>> {
    if parts.arguments.is_empty() {
        return Err(parts.requires("exactly one argument"));
    }
    Ok(parts.line.text_of(parts.arguments))
}

/// The same, and no flags.
pub(super) fn checked(parts: &Parts<'_>) -> Result<Text, Box<Diagnostic>> {
    let text = rest(parts)?;
    parts.no_flags()?;
    Ok(text)
}

pub(super) fn expose(parts: &Parts<'_>) -> Result<InstructionKind, Box<Diagnostic>> {
    let words = words::plain(parts.arguments);
    if words.is_empty() {
        return Err(parts.requires("at least one argument"));
    }
    parts.no_flags()?;
    Ok(InstructionKind::Expose(
        words
            .into_iter()
            .map(|word| parts.line.text_of(word))
            .collect(),
    ))
}

pub(super) fn volume(parts: &Parts<'_>) -> Result<InstructionKind, Box<Diagnostic>> {
    let paths: Vec<Text> = match parts.json()? {
        Some(strings) => strings
            .into_iter()
            .map(|(path, slice)| Text {
                raw: path.trim().to_owned(),
                span: parts.line.span_of(slice),
            })
            .collect(),
        None => words::plain(parts.arguments)
            .into_iter()
            .map(|word| parts.line.text_of(word))
            .collect(),
    };
    if paths.is_empty() {
        return Err(parts.requires("at least one argument"));
    }
    parts.no_flags()?;
    if paths.iter().any(|path| path.raw.is_empty()) {
        let message = "VOLUME specified can not be an empty string";
        return Err(parts.error("arguments", parts.arguments, message));
    }
    Ok(InstructionKind::Volume(paths))
}
