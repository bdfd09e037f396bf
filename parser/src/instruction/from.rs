//! `FROM`.

use super::parts::Parts;
use crate::ast::{From, Site, Text};
use crate::diagnostic::Diagnostic;
use crate::flags::Takes;
use crate::quote::quote;
use crate::words;

/// Returns the stage's head and what is wrong with it.
pub(super) fn parse(parts: &Parts<'_>, site: Site) -> (From, Option<Box<Diagnostic>>) {
    let words = words::plain(parts.arguments);
    let mut from = From {
        site,
        image: words
            .first()
            .map(|word| parts.line.text_of(word))
            .unwrap_or_default(),
        platform: None,
        name: None,
        as_keyword: None,
    };
    let problem = fill(parts, &words, &mut from).err();
    (from, problem)
}

fn fill(parts: &Parts<'_>, words: &[&str], from: &mut From) -> Result<(), Box<Diagnostic>> {
    match words {
        [_] => {}
        [_, keyword, name] if keyword.eq_ignore_ascii_case("as") => {
            from.as_keyword = Some(parts.line.text_of(keyword));
            from.name = Some(stage_name(parts, name)?);
        }
        _ => {
            let message = "FROM requires either one or three arguments";
            let at = if words.is_empty() {
                parts.keyword
            } else {
                parts.arguments
            };
            let problem = parts.error("arguments", at, message);
            let form = "the form is: FROM [--platform=PLATFORM] IMAGE [AS NAME]";
            return Err(Box::new(problem.note(form)));
        }
    }
    let mut flags = parts.check_flags(&[("platform", Takes::Value)])?;
    from.platform = flags.value("platform");
    Ok(())
}

fn stage_name(parts: &Parts<'_>, name: &str) -> Result<Text, Box<Diagnostic>> {
    let lower = name.to_lowercase();
    let valid = lower.starts_with(|c: char| c.is_ascii_lowercase())
        && lower
            .chars()
            .all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_' | '.'));
    if valid {
        return Ok(parts.line.text_of(name));
    }
    let message = format!(
        "invalid name for build stage: {}, name can't start with a number or contain symbols",
        quote(name)
    );
    Err(parts.error("stage-name", name, message))
}
