//! Steps that are made of files alone: COPY, ADD and WORKDIR.

use std::borrow::Cow;

use kiln_cache::{ActionKey, LayerStack};
use kiln_oci::Timestamp;
use kiln_snapshotter::{Layer, Metadata, ParentView, find_owner};

use crate::copy::{
    self, ArchiveFile, CopyOwner, CopyTarget, Earlier, Fidelity, Placement, SelectedSource,
    WriteError, WriteRound,
};
use crate::deps::Deps;
use crate::files::{Files, NoFiles};
use crate::graph::{Archives, CopyLayout, CopyOp, Step, WorkdirOp};
use crate::progress::Vertex;
use crate::source_facts::ContextSelections;
use crate::step_error::StepError;
use crate::step_trees::{LocalStack, Sources};

/// What the arguments of a part of a copy stand for.
pub(crate) struct SelectedPart<'a> {
    pub(crate) files: &'a dyn Files,
    archives: Archives,
    pub(crate) selections: Cow<'a, [SelectedSource<'a>]>,
}

/// Finds what the arguments of a copy stand for. What they select of contexts is known.
pub(crate) fn select<'a>(
    sources: &'a Sources<'_>,
    copy: &CopyOp,
    of_contexts: &'a ContextSelections<'a>,
) -> Result<Vec<SelectedPart<'a>>, StepError> {
    let parts = copy.parts.iter().zip(of_contexts);
    parts
        .map(|(part, known)| {
            let files = sources.files(part.source);
            Ok(SelectedPart {
                files,
                archives: part.archives,
                selections: match known {
                    Some(known) => Cow::Borrowed(known),
                    None => Cow::Owned(copy::select(files, copy, part)?),
                },
            })
        })
        .collect()
}

/// Warns of arguments that copy nothing. That is no error: BuildKit accepts it too.
pub(crate) fn warn_of_nothing(
    deps: &Deps<'_>,
    step: &Step,
    copy: &CopyOp,
    selected: &[SelectedPart<'_>],
) {
    for (part, selected) in copy.parts.iter().zip(selected) {
        for (position, argument) in part.paths.iter().enumerate() {
            let mut selections = selected.selections.iter();
            let copies_nothing = selections.all(|selection| {
                let is_empty = copy.layout == CopyLayout::Parents && selection.is_empty();
                selection.argument != position || is_empty
            });
            if copies_nothing {
                let name = &step.name;
                deps.reporter.warn(format!(
                    "{name}: nothing is copied: {argument:?} matches no file"
                ));
            }
        }
    }
}

/// Returns what the same copy made last time, if it is still here.
pub(crate) fn earlier(deps: &Deps<'_>, slots: &[ActionKey]) -> Earlier {
    let record = deps.look_up(slots);
    let made = record.and_then(|record| record.state.top());
    match made.and_then(|made| deps.layers.layer(made.layer)) {
        Some(layer) => Earlier::new(&layer),
        None => Earlier::default(),
    }
}

/// Makes the layer of COPY or ADD, and says whether it is what its key speaks of.
pub(crate) fn copy_files(
    deps: &Deps<'_>,
    op: &CopyOp,
    parent: &LayerStack,
    selected: &[SelectedPart<'_>],
    earlier: &Earlier,
    vertex: &Vertex<'_>,
) -> Result<(Layer, Fidelity), StepError> {
    // A linked copy does not look at what is below it.
    let below = if op.link {
        None
    } else {
        Some(LocalStack::new(deps.layer_loader(), parent)?)
    };
    vertex.begin();
    let files: &dyn Files = match &below {
        Some(below) => below,
        None => &NoFiles,
    };
    let owner = owner(op, below.as_ref())?;
    let builder = deps.layers.builder()?;
    let target = CopyTarget {
        builder: &builder,
        earlier,
        vertex,
    };
    let mut source: &dyn Files = &NoFiles;
    let time = op.time.unwrap_or_else(Timestamp::now);
    let mut placement = Placement::new(files, source, owner, op.mode.as_ref(), time);
    let mut fidelity = Fidelity::Exact;
    // Later sources replace what earlier ones copied, so each is written before the next one.
    for part in selected {
        let entries = placement.take(&builder);
        let written = copy::write(target, source, &entries, WriteRound::NotLast)?;
        fidelity = fidelity.and(written);
        source = part.files;
        placement.turn_to(source);
        for selection in part.selections.iter() {
            let archive = match part.archives {
                Archives::Unpack => ArchiveFile::open(source, selection)?,
                Archives::Keep => None,
            };
            let Some(archive) = archive else {
                placement.selection(op, selection)?;
                continue;
            };
            let destination = placement.archive(op)?;
            // What an archive holds shows while it is unpacked.
            let entries = placement.take(&builder);
            let written = copy::write(target, source, &entries, WriteRound::NotLast)?;
            fidelity = fidelity.and(written);
            let nothing = ParentView::default();
            let view = below.as_ref().map_or(&nothing, LocalStack::view);
            let owner = match owner {
                CopyOwner::Source => None,
                CopyOwner::Ids { uid, gid } => Some(kiln_snapshotter::Owner { uid, gid }),
            };
            fidelity = fidelity.and(archive.unpack(&builder, view, &destination, owner)?);
            placement.look_in(&builder);
        }
    }
    for (name, content) in &op.inline {
        placement.inline(op, name, content)?;
    }
    let (below, written) = write_rest(deps, target, source, placement)?;
    let layer = match below {
        Some(below) => builder.finish_on(&below),
        None => builder.finish(),
    };
    let layer = layer.map_err(WriteError::from)?;
    if let Some(earlier) = earlier.layer() {
        deps.layers.note_likeness(&layer, earlier);
    }
    Ok((layer, fidelity.and(written)))
}

/// Writes what was not written yet, and returns the layer on whose files the new one is to lie, if
/// that saves much: then only what differs was written.
fn write_rest(
    deps: &Deps<'_>,
    target: CopyTarget<'_>,
    source: &dyn Files,
    placement: Placement<'_>,
) -> Result<(Option<Layer>, Fidelity), WriteError> {
    let is_all = placement.is_all();
    let entries = placement.into_entries();
    let below = if is_all {
        target.earlier.below(deps.layers, &entries)
    } else {
        None
    };
    let (below, entries) = match below {
        Some((below, differing)) => (Some(below), differing),
        None => (None, entries),
    };
    let fidelity = copy::write(target, source, &entries, WriteRound::Last)?;
    Ok((below, fidelity))
}

/// Returns who is to own the files: the user of `--chown`, looked up in the root below if there is
/// one.
fn owner(op: &CopyOp, below: Option<&LocalStack<'_>>) -> Result<CopyOwner, StepError> {
    let Some(text) = &op.owner else {
        return Ok(CopyOwner::Source);
    };
    let found = match below {
        Some(below) => find_owner(below.view(), text)?,
        None => {
            let is_number = |word: &str| word.parse::<u32>().is_ok();
            if !text
                .split(':')
                .all(|word| word.is_empty() || is_number(word))
            {
                return Err(StepError::NoRootForNames);
            }
            find_owner(&ParentView::default(), text)?
        }
    };
    Ok(CopyOwner::Ids {
        uid: found.uid,
        gid: found.gid,
    })
}

/// Makes a directory, and those above it, as the step's user.
pub(crate) fn workdir(
    deps: &Deps<'_>,
    op: &WorkdirOp,
    parent: &LayerStack,
    vertex: &Vertex<'_>,
) -> Result<Layer, StepError> {
    let below = LocalStack::new(deps.layer_loader(), parent)?;
    vertex.begin();
    let owner = match op.user.as_str() {
        "" => CopyOwner::Source,
        user => {
            // The user owns the directory and runs no process here: so a number alone is the group
            // as well, and an unknown name is no error before a RUN.
            let found = find_owner(below.view(), user)?;
            CopyOwner::Ids {
                uid: found.uid,
                gid: found.gid,
            }
        }
    };
    let time = op.time.unwrap_or_else(Timestamp::now);
    let mut placement = Placement::new(&below, &NoFiles, owner, None, time);
    placement.working_directory(&op.path)?;
    let builder = deps.layers.builder()?;
    for (_, placed) in placement.into_entries().iter() {
        let mut metadata = Metadata::of(&placed.node);
        let is_new = below.get(placed.node.path).is_none();
        if let (Some(time), true) = (op.time, is_new) {
            metadata.mtime = time;
        }
        builder
            .add_directory(&placed.node.guest_path(), &metadata)
            .map_err(WriteError::from)?;
    }
    Ok(builder.finish().map_err(WriteError::from)?)
}
