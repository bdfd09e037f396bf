//! `SOURCE_DATE_EPOCH`: what a build says of its time, and the stage that may tell it.
//!
//! Besides seconds it may be a name: `context`, a build context, or a stage that is made for its
//! time alone. Stages and history see the seconds that a name stands for, never the name.
//! docs/spec/dockerfile.md 5.4.

use kiln_parser::{
    Add, Diagnostic, Dockerfile, InstructionKind, Source, SourcePlace, Stage, remote_source,
};

use super::arguments::Arguments;
use super::epoch_value::NAME;
use super::names::added_remote;
use super::options::PlanOptions;
use super::stages;
use super::words::{self, Words};
use crate::graph::Remote;

/// Returns the `SOURCE_DATE_EPOCH` of a build, if there is one: by a build argument, or by the
/// default of a global `ARG`.
#[must_use]
pub fn epoch_text(dockerfile: &Dockerfile, options: &PlanOptions) -> Option<String> {
    let mut silent = Words::new(dockerfile.directives.escape);
    let arguments = arguments(dockerfile, options, &mut silent);
    arguments.epoch.filter(|text| !text.is_empty())
}

/// Returns the source that the stage called `name` adds, whose time is the build's; none if no
/// stage is called so.
///
/// # Errors
/// When the stage does anything besides.
pub fn epoch_stage(
    dockerfile: &Dockerfile,
    options: &PlanOptions,
    name: &str,
) -> Option<Result<Remote, Diagnostic>> {
    let is_named = |stage: &&Stage| {
        let own = stage.from.name.as_ref();
        own.is_some_and(|own| own.raw.eq_ignore_ascii_case(name))
    };
    let stage = dockerfile.stages.iter().find(is_named)?;
    let mut words = Words::new(dockerfile.directives.escape);
    let arguments = arguments(dockerfile, options, &mut words);
    let source = source_of(stage, arguments, &mut words);
    // What is wrong in a word comes before what follows from it.
    let first = words.errors.into_iter().next();
    Some(match (first, source) {
        (Some(error), _) => Err(error),
        (None, Err(message)) => Err(words::error("epoch", stage.from.site.span, message)),
        (None, Ok(remote)) => Ok(remote),
    })
}

/// Evaluates the global arguments, for the first platform: a time is the whole build's.
fn arguments(dockerfile: &Dockerfile, options: &PlanOptions, words: &mut Words) -> Arguments {
    let platform = options.platforms.first().unwrap_or(&options.build_platform);
    let target = stages::target_name(dockerfile, options.target.as_deref());
    Arguments::new(dockerfile, options, platform, &target, words)
}

/// Returns the one remote source of a stage that starts from nothing and has arguments at most.
fn source_of(stage: &Stage, arguments: Arguments, words: &mut Words) -> Result<Remote, String> {
    const ONE_SOURCE: &str = "SOURCE_DATE_EPOCH stage must contain exactly one remote ADD";
    let mut variables = arguments.global.clone();
    variables.remove(NAME);
    if words.expand(&stage.from.image, &variables) != "scratch" {
        return Err("SOURCE_DATE_EPOCH stage must use FROM scratch".to_owned());
    }
    let mut found = None;
    for instruction in &stage.instructions {
        match &instruction.kind {
            InstructionKind::Arg(arg) => {
                for (name, default) in &arg.declarations {
                    let default = default.as_ref();
                    let expand = |text: &_| words.expand(text, &variables);
                    if let Some(value) = arguments.stage_value(&name.raw, default, expand) {
                        variables.set(&name.raw, &value);
                    }
                }
            }
            InstructionKind::Add(_) if found.is_some() => return Err(ONE_SOURCE.to_owned()),
            InstructionKind::Add(add) => {
                found = Some(added(add, |text| words.expand(text, &variables))?);
            }
            _ => {
                let name = &instruction.site.keyword.raw;
                return Err(format!(
                    "SOURCE_DATE_EPOCH stage does not meet source-only requirements: unsupported \
                     {name} instruction"
                ));
            }
        }
    }
    found.ok_or_else(|| ONE_SOURCE.to_owned())
}

fn added(
    add: &Add,
    mut expand: impl FnMut(&kiln_parser::Text) -> String,
) -> Result<Remote, String> {
    let [Source::Path(path)] = add.sources.as_slice() else {
        return Err(
            "SOURCE_DATE_EPOCH stage must contain exactly one remote ADD source".to_owned(),
        );
    };
    let checksum = add.checksum.as_ref().map(&mut expand);
    match remote_source(&expand(path), SourcePlace::Instruction) {
        Some(Ok(source)) => Ok(added_remote(source, add, checksum.as_deref())),
        Some(Err(error)) => Err(error.to_string()),
        None => {
            Err("SOURCE_DATE_EPOCH stage source must be a single HTTP(S) or Git ADD".to_owned())
        }
    }
}
