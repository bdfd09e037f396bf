//! What the lint rules find once variables have values and images have configs.
//!
//! The rules that need the syntax tree alone are the parser's. docs/spec/dockerfile.md 14.

use std::collections::BTreeMap;
use std::ops::Range;

use kiln_oci::{Image, ImageRef, Platform};
use kiln_parser::lint::rules;
use kiln_parser::{Quoting, Span, Text, expand, expose, suggest};

use super::arguments::{Arguments, READ_BY_BUILDER};
use super::stage::StagePlan;
use super::words::Words;
use super::{PlanOptions, Planner, stages};

/// A path of the build context that an instruction names. Whether it is ignored, only the owner of
/// the context knows: rule CopyIgnoredFile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextRead {
    /// `Copy` or `Add`, as the rule says it.
    pub verb: &'static str,
    /// The path or pattern, expanded.
    pub path: String,
    /// Where it is written.
    pub span: Span,
}

impl Planner<'_> {
    /// Rule InvalidDefaultArgInFrom: without build arguments, every base must still have a name. A
    /// base that can have none at all is refused besides.
    pub(crate) fn check_defaults(&mut self, platform: &Platform, target_stage: &str) {
        let bare = PlanOptions {
            build_args: BTreeMap::new(),
            ..self.options.clone()
        };
        let mut silent = Words::new(self.dockerfile.directives.escape);
        let defaults = Arguments::new(self.dockerfile, &bare, platform, target_stage, &mut silent);
        for stage in &self.dockerfile.stages {
            let base = &stage.from.image;
            let name = silent.expand(base, &defaults.global);
            if !silent.errors.is_empty() {
                // A default that cannot be expanded is an error of its own, not a finding.
                return;
            }
            if name.parse::<ImageRef>().is_err() {
                let finding = rules::invalid_default_arg_in_from(base.span, &base.raw);
                self.words.warnings.push(finding);
            }
        }
    }

    /// Rule InvalidBaseImagePlatform. Who gives a build context in an image's place has chosen it.
    pub(crate) fn check_platform(&mut self, stage: usize, image: &Image, expected: &Platform) {
        let at = &self.dockerfile.stages[stage].from.image;
        let mut silent = Words::new(self.dockerfile.directives.escape);
        let name = silent.expand(at, &self.arguments.global);
        if stages::is_context(self.dockerfile, stage, &name, &self.options.contexts) {
            return;
        }
        let found = image.config.platform();
        let differs = found.os != expected.os || found.architecture != expected.architecture;
        // A hand-made image may say nothing about its platform.
        if differs && !found.architecture.is_empty() {
            let (found, expected) = (found.to_string(), expected.to_string());
            let finding = rules::invalid_base_image_platform(at.span, &name, &found, &expected);
            self.words.warnings.push(finding);
        }
    }
}

impl StagePlan<'_, '_> {
    /// Notes that a path of the context is read.
    pub(super) fn note_read(&mut self, verb: &'static str, path: &str, span: Span) {
        self.planner.reads.push(ContextRead {
            verb,
            path: path.to_owned(),
            span,
        });
    }
}

impl Words {
    /// Rule UndefinedArgInFrom.
    pub(super) fn undefined_in_from(&mut self, name: &str, at: &Text, arguments: &Arguments) {
        if arguments.is_global(name) {
            return;
        }
        let closest = suggest(name, arguments.global_names());
        let span = variable_span(at, name);
        let finding = rules::undefined_arg_in_from(span, name, closest);
        self.warnings.push(finding);
    }

    /// Rule UndefinedVar; `declared` names are known although they have no value.
    pub(super) fn undefined_in_stage<'a>(
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

    /// Rules ExposeProtoCasing and ExposeInvalidFormat.
    pub(super) fn check_ports(&mut self, ports: &expose::Ports, word: &str, span: Span) {
        if ports.miscased_protocol.is_some() {
            let finding = rules::expose_proto_casing(span, word);
            self.warnings.push(finding);
        }
        if ports.names_host {
            let finding = rules::expose_invalid_format(span, word);
            self.warnings.push(finding);
        }
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
