//! Which stages there are, what each needs, and which the target needs.
//!
//! spec/dockerfile.md section 9.

use kiln_cache::ImageRef;
use kiln_parser::{Dockerfile, Instruction, Kind, Span, Stage, Text, suggest};

use super::arguments::Arguments;
use super::words::Words;

/// What a stage starts from or copies from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// An earlier stage, by index.
    Stage(usize),
    /// Nothing.
    Scratch,
    /// An image.
    Image(ImageRef),
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
        let hint = suggest(wanted, names.iter().map(String::as_str))
            .map_or_else(String::new, |close| format!(" (did you mean {close}?)"));
        words.error(
            "unknown-target",
            Span::default(),
            format!("target stage {wanted:?} could not be found{hint}"),
        );
    }
    found
}

/// Finds the latest stage of this name before stage `before`.
fn find(dockerfile: &Dockerfile, wanted: &str, before: usize) -> Option<usize> {
    dockerfile.stages[..before]
        .iter()
        .rposition(|stage| name(stage).as_deref() == Some(wanted))
}

/// Resolves what `FROM` of stage `index` means. Expands it in the global scope.
pub(crate) fn base(
    dockerfile: &Dockerfile,
    index: usize,
    arguments: &Arguments,
    words: &mut Words,
) -> Option<Source> {
    let image = &dockerfile.stages[index].from.image;
    let text = words.expand(image, &arguments.global);
    // No case is folded on this side: `FROM MID` does not find stage `mid`.
    if let Some(stage) = find(dockerfile, &text, index) {
        return Some(Source::Stage(stage));
    }
    match text.as_str() {
        "" => {
            let message = format!("base name ({}) should not be blank", image.raw);
            words.error("blank-base", image.span, message);
            None
        }
        "scratch" => Some(Source::Scratch),
        name => image_name(name, image.span, words).map(Source::Image),
    }
}

fn image_name(text: &str, span: Span, words: &mut Words) -> Option<ImageRef> {
    match text.parse::<ImageRef>() {
        Ok(name) => Some(name.with_default_tag()),
        Err(error) => {
            let message = format!("failed to parse stage name {text:?}: {error}");
            words.error("invalid-reference", span, message);
            None
        }
    }
}

/// Whether a source may be given by the stage's index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ByIndex {
    /// `COPY --from=0`
    Allowed,
    /// `--mount=from=`
    Refused,
}

/// Resolves a `--from` in stage `index`.
pub(crate) fn source(
    dockerfile: &Dockerfile,
    index: usize,
    from: &Text,
    by_index: ByIndex,
    words: &mut Words,
) -> Option<Source> {
    let text = from.raw.as_str();
    if by_index == ByIndex::Allowed
        && let Ok(number) = text.parse::<usize>()
    {
        if number < index {
            return Some(Source::Stage(number));
        }
        let message = format!("invalid stage index {text}");
        words.error("invalid-stage", from.span, message);
        return None;
    }
    let wanted = text.to_lowercase();
    if let Some(stage) = find(dockerfile, &wanted, index) {
        return Some(Source::Stage(stage));
    }
    let everywhere = find(dockerfile, &wanted, dockerfile.stages.len());
    match everywhere {
        Some(stage) if stage == index => {
            let message = format!("circular dependency detected on stage: {wanted}");
            words.error("circular", from.span, message);
            None
        }
        Some(_) => {
            let message = format!(
                "cannot copy from stage {wanted:?}, it needs to be defined before current stage {:?}",
                display_name(dockerfile, index)
            );
            words.error("later-stage", from.span, message);
            None
        }
        None if wanted == "scratch" => Some(Source::Scratch),
        None => {
            let name = image_name(text, from.span, words);
            if name.is_none() {
                let names: Vec<String> = dockerfile.stages[..index]
                    .iter()
                    .filter_map(self::name)
                    .collect();
                if let Some(close) = suggest(&wanted, names.iter().map(String::as_str))
                    && let Some(error) = words.errors.last_mut()
                {
                    error.suggestion = Some(close.to_owned());
                }
            }
            name.map(Source::Image)
        }
    }
}

/// Returns the `--from` texts of an instruction.
pub(crate) fn sources_of(instruction: &Instruction) -> Vec<(Text, ByIndex)> {
    match &instruction.kind {
        Kind::Copy(copy) => copy
            .from
            .iter()
            .map(|from| (from.clone(), ByIndex::Allowed))
            .collect(),
        Kind::Run(run) => run
            .mounts
            .iter()
            .flat_map(|mount| {
                mount
                    .fields
                    .iter()
                    .filter(|(key, _)| key == "from")
                    .filter_map(|(_, value)| value.clone())
                    .map(|raw| {
                        let span = mount.value.span;
                        (Text { raw, span }, ByIndex::Refused)
                    })
            })
            .collect(),
        _ => Vec::new(),
    }
}
