//! Expansion of words where they stand, and the findings about names that are unknown there.

use std::ops::Range;

use kiln_parser::lint::rules;
use kiln_parser::{Heredoc, Quoting, Span, Text, expand, suggest};

use super::arguments::{Arguments, READ_BY_BUILDER};
use super::variables::Variables;
use super::words::Words;

impl Words {
    /// Expands a word of a `FROM` line, where only global arguments are known.
    pub(crate) fn expand_in_from(&mut self, text: &Text, arguments: &Arguments) -> String {
        let variables = &arguments.global;
        self.expand_as(text, Quoting::Word, variables, |words, name| {
            words.undefined_in_from(name, text, arguments);
        })
    }

    /// Expands a word of an instruction; `declared` names may be without a value.
    pub(crate) fn expand_in_stage(
        &mut self,
        text: &Text,
        quoting: Quoting,
        variables: &Variables,
        declared: &[String],
    ) -> String {
        self.expand_as(text, quoting, variables, |words, name| {
            words.undefined_in_stage(name, text, declared, variables.names());
        })
    }

    /// Expands a heredoc's body, unless it is quoted.
    pub(crate) fn expand_body(
        &mut self,
        heredoc: &Heredoc,
        variables: &Variables,
        declared: &[String],
    ) -> String {
        let body = Text {
            raw: heredoc.body.clone(),
            span: heredoc.marker,
        };
        if heredoc.expand {
            self.expand_in_stage(&body, Quoting::HeredocBody, variables, declared)
        } else {
            body.raw
        }
    }

    /// Rule UndefinedArgInFrom.
    fn undefined_in_from(&mut self, name: &str, at: &Text, arguments: &Arguments) {
        if arguments.is_global(name) {
            return;
        }
        let closest = suggest(name, arguments.global_names());
        let span = variable_span(at, name);
        let finding = rules::undefined_arg_in_from(span, name, closest);
        self.warnings.push(finding);
    }

    /// Rule UndefinedVar; `declared` names are known although they have no value.
    fn undefined_in_stage<'a>(
        &mut self,
        name: &str,
        at: &Text,
        declared: &[String],
        known: impl Iterator<Item = &'a str>,
    ) {
        let is_global = self.global.iter().any(|global| global == name);
        let is_declared = declared.iter().any(|declared| declared == name);
        if is_declared || READ_BY_BUILDER.contains(&name) {
            return;
        }
        let closest = suggest(name, known);
        let mut finding = rules::undefined_var(variable_span(at, name), name, closest);
        if is_global {
            finding = finding.note(format!(
                "so far only FROM lines know {name}; `ARG {name}` in the stage brings it in"
            ));
        }
        self.warnings.push(finding);
    }
}

/// Returns the global argument whose name is closest to one that `text` uses in vain.
pub(crate) fn closest_argument(text: &Text, arguments: &Arguments) -> Option<String> {
    let lookup = |name: &str| arguments.global.get(name).map(str::to_owned);
    let expansion = expand(&text.raw, '\\', Quoting::Word, &lookup).ok()?;
    let closest = |name: &String| suggest(name, arguments.global_names());
    expansion
        .undefined
        .iter()
        .find_map(closest)
        .map(str::to_owned)
}

/// Returns where a word uses a variable; the whole word if that cannot be told.
fn variable_span(at: &Text, name: &str) -> Span {
    let length = at.span.end.saturating_sub(at.span.start) as usize;
    // With quotes or continued lines taken out, positions no longer correspond.
    if length != at.raw.len() {
        return at.span;
    }
    let Some(found) = use_of(&at.raw, name) else {
        return at.span;
    };
    let offset = |index: usize| at.span.start + u32::try_from(index).unwrap_or_default();
    Span::new(offset(found.start), offset(found.end))
}

/// Finds `$name`, `${name}` or the beginning of `${name` with a modifier.
fn use_of(text: &str, name: &str) -> Option<Range<usize>> {
    text.match_indices('$').find_map(|(start, _)| {
        let behind = &text[start + 1..];
        let (brace, behind) = match behind.strip_prefix('{') {
            Some(behind) => ("{", behind),
            None => ("", behind),
        };
        let rest = behind.strip_prefix(name)?;
        let goes_on = rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        let closing = usize::from(!brace.is_empty() && rest.starts_with('}'));
        let end = start + 1 + brace.len() + name.len() + closing;
        (!goes_on).then_some(start..end)
    })
}
