//! Which stages there are, what each needs, and which the target needs.
//!
//! docs/spec/dockerfile.md 9.

use std::collections::BTreeMap;

use kiln_oci::TaggedRef;
use kiln_parser::{
    Dockerfile, Instruction, InstructionKind, MountFlag, Span, Stage, Text, hint, suggest,
};

use super::arguments::Arguments;
use super::expansion::closest_argument;
use super::names::{ImageSource, NamedSource, context_name};
use super::words::Words;

/// What a stage starts from or copies from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StageSource {
    /// An earlier stage, by index.
    Stage(usize),
    /// What `--build-context` or the name itself says.
    Named(NamedSource),
}

/// Returns the name a stage is looked up by.
pub(crate) fn name(stage: &Stage) -> Option<String> {
    stage.from.name.as_ref().map(|name| name.raw.to_lowercase())
}

/// Returns how progress and errors call a stage.
pub(crate) fn display_name(dockerfile: &Dockerfile, index: usize) -> String {
    name(&dockerfile.stages[index]).unwrap_or_else(|| format!("stage-{index}"))
}

/// Finds the target stage: the last one without `--target`.
pub(crate) fn target(
    dockerfile: &Dockerfile,
    target: Option<&str>,
    words: &mut Words,
) -> Option<usize> {
    let Some(wanted) = target.filter(|target| !target.is_empty()) else {
        return dockerfile.stages.len().checked_sub(1);
    };
    let found = find(dockerfile, &wanted.to_lowercase(), dockerfile.stages.len());
    if found.is_none() {
        let names: Vec<String> = dockerfile.stages.iter().filter_map(name).collect();
        let hint = hint(suggest(wanted, names.iter().map(String::as_str)));
        words.error(
            "unknown-target",
            Span::default(),
            format!("target stage {wanted:?} could not be found{hint}"),
        );
        words.note(if names.is_empty() {
            "no stage has a name: FROM IMAGE AS NAME gives one".to_owned()
        } else {
            format!("the stages are: {}", names.join(" "))
        });
    }
    found
}

/// Returns what `TARGETSTAGE` says.
pub(crate) fn target_name(dockerfile: &Dockerfile, target: Option<&str>) -> String {
    let given = target.filter(|name| !name.is_empty()).map(str::to_owned);
    given
        .or_else(|| dockerfile.stages.last().and_then(name))
        .unwrap_or_else(|| "default".to_owned())
}

/// Finds the latest stage of this name before stage `before`.
fn find(dockerfile: &Dockerfile, wanted: &str, before: usize) -> Option<usize> {
    dockerfile.stages[..before]
        .iter()
        .rposition(|stage| name(stage).as_deref() == Some(wanted))
}

/// Returns what `--build-context` puts in the place of a whole stage: its own name is given
/// another meaning, and its instructions are not carried out.
pub(crate) fn replacement<'a>(
    dockerfile: &Dockerfile,
    index: usize,
    contexts: &'a BTreeMap<String, NamedSource>,
) -> Option<&'a NamedSource> {
    contexts.get(&name(&dockerfile.stages[index])?)
}

/// Resolves what `FROM` of stage `index` means. Expands it in the global scope.
pub(crate) fn base(
    dockerfile: &Dockerfile,
    index: usize,
    contexts: &BTreeMap<String, NamedSource>,
    arguments: &Arguments,
    words: &mut Words,
) -> Option<StageSource> {
    if let Some(source) = replacement(dockerfile, index, contexts) {
        return Some(StageSource::Named(source.clone()));
    }
    let image = &dockerfile.stages[index].from.image;
    let text = words.expand_in_from(image, arguments);
    // No case is folded on this side: `FROM MID` does not find stage `mid`.
    if let Some(stage) = find(dockerfile, &text, index) {
        return Some(StageSource::Stage(stage));
    }
    match text.as_str() {
        "" => {
            let message = format!("base name ({}) should not be blank", image.raw);
            let closest = closest_argument(image, arguments);
            let error = super::words::error("blank-base", image.span, message);
            let closest = closest.map(|name| format!("${name}"));
            words.errors.push(error.suggest(closest.as_deref()));
            None
        }
        "scratch" => Some(StageSource::Named(NamedSource::Scratch)),
        name => named(name, image.span, contexts, words).map(StageSource::Named),
    }
}

/// Says whether what stage `index` starts from is a build context that was given: in the place of
/// the stage, or of the image called `name`.
pub(crate) fn is_context(
    dockerfile: &Dockerfile,
    index: usize,
    name: &str,
    contexts: &BTreeMap<String, NamedSource>,
) -> bool {
    let is_given = context_name(name).is_some_and(|name| contexts.contains_key(&name));
    is_given || replacement(dockerfile, index, contexts).is_some()
}

/// Resolves a name that is no stage's.
fn named(
    text: &str,
    span: Span,
    contexts: &BTreeMap<String, NamedSource>,
    words: &mut Words,
) -> Option<NamedSource> {
    let context = context_name(text).and_then(|name| contexts.get(&name));
    if let Some(source) = context {
        return Some(source.clone());
    }
    let image = image_name(text, span, words)?;
    Some(NamedSource::Image(ImageSource::Registry(image)))
}

fn image_name(text: &str, span: Span, words: &mut Words) -> Option<TaggedRef> {
    match text.parse::<TaggedRef>() {
        Ok(name) => Some(name),
        Err(error) => {
            let message = format!("failed to parse stage name {text:?}: {error}");
            words.error("invalid-reference", span, message);
            None
        }
    }
}

/// Who reads another stage's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StageReader {
    /// `COPY --from`, which may also give a stage's index.
    Copy,
    /// `RUN --mount=from`, with the mount's target.
    Mount(String),
}

/// Returns the stage that a `COPY --from` names by its number.
pub(crate) fn number(dockerfile: &Dockerfile, from: &Text, reader: &StageReader) -> Option<usize> {
    let number = from.raw.parse().ok()?;
    (*reader == StageReader::Copy && number < dockerfile.stages.len()).then_some(number)
}

/// Resolves a `--from` in stage `index`.
pub(crate) fn source(
    dockerfile: &Dockerfile,
    index: usize,
    from: &Text,
    reader: &StageReader,
    contexts: &BTreeMap<String, NamedSource>,
    words: &mut Words,
) -> Option<StageSource> {
    let text = from.raw.as_str();
    let by_number = number(dockerfile, from, reader);
    if let Some(stage) = by_number.filter(|stage| *stage < index) {
        return Some(StageSource::Stage(stage));
    }
    if by_number.is_none() && *reader == StageReader::Copy && text.parse::<usize>().is_ok() {
        let message = format!("invalid stage index {text}");
        words.error("invalid-stage", from.span, message);
        words.note(match index {
            0 => "no stage stands before this one".to_owned(),
            1 => "before this stage there is only stage 0".to_owned(),
            _ => format!("before this stage there are stages 0 to {}", index - 1),
        });
        return None;
    }
    let wanted = text.to_lowercase();
    let before = find(dockerfile, &wanted, index).filter(|_| by_number.is_none());
    if let Some(stage) = before {
        return Some(StageSource::Stage(stage));
    }
    let everywhere = by_number.or_else(|| find(dockerfile, &wanted, dockerfile.stages.len()));
    match everywhere {
        Some(stage) if stage == index => {
            let name = display_name(dockerfile, stage);
            let message = format!("circular dependency detected on stage: {name}");
            words.error("circular", from.span, message);
            None
        }
        Some(later) => {
            let message = match reader {
                StageReader::Copy => format!(
                    "cannot copy from stage {wanted:?}, it needs to be defined before current stage {:?}",
                    display_name(dockerfile, index)
                ),
                StageReader::Mount(target) => format!(
                    "cannot mount from stage {wanted:?} to {target:?}, stage needs to be defined before current command"
                ),
            };
            let start = dockerfile.stages[later].from.site.span;
            let error = super::words::error("later-stage", from.span, message);
            words.errors.push(error.label(start, "it starts here"));
            None
        }
        None if wanted == "scratch" => Some(StageSource::Named(NamedSource::Scratch)),
        None => {
            let source = named(text, from.span, contexts, words);
            if source.is_none() {
                let names: Vec<String> =
                    dockerfile.stages[..index].iter().filter_map(name).collect();
                if let Some(close) = suggest(&wanted, names.iter().map(String::as_str))
                    && let Some(error) = words.errors.last_mut()
                {
                    error.suggestion = Some(close.to_owned());
                }
            }
            source.map(StageSource::Named)
        }
    }
}

/// Returns the `--from` texts of an instruction.
pub(crate) fn sources_of(instruction: &Instruction) -> Vec<(Text, StageReader)> {
    match &instruction.kind {
        InstructionKind::Copy(copy) => copy
            .from
            .iter()
            .map(|from| (from.clone(), StageReader::Copy))
            .collect(),
        InstructionKind::Run(run) => run
            .mounts
            .iter()
            .filter(|mount| mounts_files(mount))
            .flat_map(|mount| {
                mount
                    .fields
                    .iter()
                    .filter(|(key, _)| key == "from")
                    .filter_map(|(_, value)| value.clone())
                    .map(|raw| {
                        let span = mount.value.span;
                        (Text { raw, span }, StageReader::Mount(String::new()))
                    })
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// Says whether a mount can come from a stage at all; what else has a `from` is refused later.
fn mounts_files(mount: &MountFlag) -> bool {
    let mut kinds = mount.fields.iter().filter(|(key, _)| key == "type");
    kinds.all(|(_, kind)| matches!(kind.as_deref(), Some("bind" | "cache")))
}
