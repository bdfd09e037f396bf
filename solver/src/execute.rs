//! Executing one step: alone in its flight, evidence before work, the record last.

use std::collections::HashMap;
use std::io;

use kiln_cache::{
    ActionKey, ActionRecord, Attempt, Blake3, BuiltLayer, CacheError, Flight, LayerId, State,
    Timestamp, claim,
};
use kiln_runtime::{Cancel, ExecError};
use kiln_snapshotter::{Layer, LayerError, Metadata, ParentView, UnpackError, find_owner};

use crate::below::{Below, Sources};
use crate::copy::{
    self, Archive, Earlier, Fidelity, Owner, PlaceError, Placement, SelectError, Selection, Turn,
    WriteError,
};
use crate::facts::combine;
use crate::files::{Files, NoFiles};
use crate::graph::{Archives, Copy, Layout, Op, Step, StepId, Workdir};
use crate::keys::{StepKeys, evidence, receipt, slots};
use crate::layers::LayersError;
use crate::progress::Vertex;
use crate::remote::{Identity, RemoteError};
use crate::run::{self, Begun};
use crate::solve::{Deps, look_up};

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// A command ended badly.
    #[error("process {command} did not complete successfully: exit code: {code}{}", if *.out_of_memory { " (out of memory)" } else { "" })]
    Process {
        /// Its arguments, joined and quoted.
        command: String,
        /// As a shell would see it.
        code: u8,
        /// Whether the kernel killed something for want of memory.
        out_of_memory: bool,
    },
    /// A source argument stands for nothing.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// Files cannot go where they should.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// An archive cannot be unpacked.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// Files cannot be copied.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The user of the step is not known in its root.
    #[error(transparent)]
    User(#[from] kiln_snapshotter::UserError),
    /// `--link` with the name of a user: there is no root to look it up in.
    #[error("invalid user index: -1")]
    NoRootForNames,
    /// The layers of a base image are not to be had.
    #[error(transparent)]
    Layers(#[from] LayersError),
    /// A secret that the step must have.
    #[error("secret {0}: not found")]
    Secret(String),
    /// An agent that the step must have.
    #[error("no SSH key {0:?} forwarded from the client")]
    Agent(String),
    /// A device that nobody allowed.
    #[error("device {0} is requested by the build but not allowed")]
    Device(String),
    /// A device that is not there or cannot be used.
    #[error(transparent)]
    Cdi(#[from] kiln_runtime::cdi::CdiError),
    /// A remote source is not to be had.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// A layer cannot be read or made.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// A layer that an earlier step's record names was deleted while this build ran.
    #[error("layer {0} was deleted from the state directory during the build; build again")]
    Vanished(LayerId),
    /// A layer that an earlier step's record names is described only, and not to be had.
    #[error("layer {0} is not to be had")]
    Lost(LayerId),
    /// A command could not be run.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// The result could not be recorded.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The state directory cannot be written.
    #[error("cannot write to the state directory")]
    Disk(#[source] io::Error),
    /// Something else failed, or the person asked to stop.
    #[error("cancelled")]
    Cancelled,
}

/// What a step starts from.
pub(crate) struct Inputs<'a> {
    pub(crate) step: &'a Step,
    pub(crate) keys: &'a StepKeys,
    /// Whether it, or a step it is made from, is made anew, so that the recipe proves nothing.
    pub(crate) is_anew: bool,
    /// What is proven of the results that it is made from.
    pub(crate) proof: Proof,
    /// The files below.
    pub(crate) parent: State,
    /// The files of other steps that it reads.
    pub(crate) sources: HashMap<StepId, State>,
    /// The digest of what a copy reads from contexts, or of a remote source.
    pub(crate) content: Option<Blake3>,
    /// What a remote source stands for.
    pub(crate) identity: Option<&'a Identity>,
    /// Cache mounts that this build has begun anew.
    pub(crate) begun: &'a Begun,
}

/// The result of a step.
pub(crate) struct Outcome {
    pub(crate) state: State,
    pub(crate) proof: Proof,
    pub(crate) way: Way,
}

/// How a step came to its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// It was there.
    Found,
    /// It had to be made.
    Ran,
}

/// Whether a result is what its recipe says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// It is.
    Recipe,
    /// Files changed while they were copied, for it or for something that it is made from, so it is
    /// the result of other files than its recipe speaks of. Only by evidence can something made
    /// from it be found, and kept.
    Evidence,
}

/// Finds or makes the result of a step.
pub(crate) fn execute(
    deps: &Deps<'_>,
    inputs: Inputs<'_>,
    vertex: &Vertex<'_>,
) -> Result<Outcome, StepError> {
    let keys = inputs.keys;
    let may_reuse = deps.reuse.allows(inputs.step);
    let is_proven = inputs.proof == Proof::Recipe;
    let outcome = |state: State, way: Way| Outcome {
        state,
        proof: inputs.proof,
        way,
    };
    let _claim = match claim(deps.store, keys.recipe).map_err(StepError::Disk)? {
        Attempt::Claimed(claim) => claim,
        Attempt::Busy(flight) => {
            vertex.begin();
            wait(flight, deps.cancel)?
        }
    };
    // Whoever held the claim may have left the result.
    if !inputs.is_anew
        && is_proven
        && let Some(record) = look_up(deps, &[keys.recipe])
    {
        return Ok(outcome(record.state, Way::Found));
    }
    let sources = Sources::new(deps, &inputs.sources)?;
    let (selected, content) = read(&inputs.step.op, &sources, inputs.content)?;
    let evidence = evidence(&inputs.step.op, keys.weak, &inputs.parent, content);
    if may_reuse
        && let Some(mut record) = look_up(deps, &evidence)
        && let Some(layer) = record.state.layers.last().copied()
    {
        let state = inputs.parent.with(layer);
        record.state = state.clone();
        record.receipt = receipt(&inputs.step.op, content);
        if is_proven {
            deps.cache.put(&[keys.recipe], &record)?;
        }
        return Ok(outcome(state, Way::Found));
    }
    let slots = slots(&inputs.step.op, keys.weak, &deps.definition.context);
    let mut fidelity = Fidelity::Exact;
    let layer = match &inputs.step.op {
        Op::From(_) => return Ok(outcome(inputs.parent.clone(), Way::Found)),
        Op::Remote(remote) => {
            let identity = inputs.identity.expect("remote sources were identified");
            deps.remotes.fetch(remote, identity, vertex, deps.cancel)?
        }
        Op::Run(op) => run::run(deps, op, &inputs, &sources, vertex)?,
        Op::Workdir(op) => workdir(deps, op, &inputs.parent, vertex)?,
        Op::Copy(op) => {
            warn_of_nothing(deps, inputs.step, op, &selected);
            let earlier = match may_reuse {
                true => earlier(deps, &slots),
                false => Earlier::default(),
            };
            let (layer, exact) = copy_files(deps, op, &inputs.parent, &selected, &earlier, vertex)?;
            fidelity = exact;
            layer
        }
    };
    // The real time, whatever epoch is asked for: that one counts where the image is assembled,
    // and another build may find this result.
    let created = Timestamp::now();
    let state = inputs.parent.with(BuiltLayer {
        layer: layer.id(),
        created,
    });
    match fidelity {
        Fidelity::Exact => {
            let record = ActionRecord {
                state: state.clone(),
                took: vertex.elapsed(),
                receipt: receipt(&inputs.step.op, content),
                evidence: evidence.clone(),
            };
            let mut names = evidence;
            if is_proven {
                names.insert(0, keys.recipe);
                names.extend(slots);
            }
            deps.cache.put(&names, &record)?;
            Ok(outcome(state, Way::Ran))
        }
        Fidelity::Changed => {
            deps.reporter.warn(format!(
                "{}: files changed while they were copied; the result is not cached",
                inputs.step.name
            ));
            Ok(Outcome {
                state,
                proof: Proof::Evidence,
                way: Way::Ran,
            })
        }
    }
}

/// Returns what an operation copies, and the digest of what it reads besides its parent's files.
/// `known` is what is known of that digest without the files of other steps.
pub(crate) fn read<'a>(
    op: &Op,
    sources: &'a Sources<'_>,
    known: Option<Blake3>,
) -> Result<(Vec<SelectedPart<'a>>, Option<Blake3>), StepError> {
    Ok(match op {
        Op::Copy(copy) => {
            let selected = select(sources, copy)?;
            let content = match op.sources().next() {
                // Nothing but contexts: that digest is known.
                None => known,
                Some(_) => {
                    let digests: Vec<Blake3> = selected
                        .iter()
                        .map(|part| copy::digest(part.files, &part.selections))
                        .collect();
                    Some(combine(&digests))
                }
            };
            (selected, content)
        }
        Op::Run(run) => (Vec::new(), run::content(run, sources)?),
        _ => (Vec::new(), known),
    })
}

/// What the arguments of a part of a copy stand for.
pub(crate) struct SelectedPart<'a> {
    files: &'a dyn Files,
    archives: Archives,
    selections: Vec<Selection<'a>>,
}

fn select<'a>(sources: &'a Sources<'_>, copy: &Copy) -> Result<Vec<SelectedPart<'a>>, StepError> {
    copy.parts
        .iter()
        .map(|part| {
            let files = sources.files(part.source);
            Ok(SelectedPart {
                files,
                archives: part.archives,
                selections: copy::select(files, copy, part)?,
            })
        })
        .collect()
}

/// Says which arguments bring nothing, which is no mistake in itself.
fn warn_of_nothing(deps: &Deps<'_>, step: &Step, copy: &Copy, selected: &[SelectedPart<'_>]) {
    for (part, selected) in copy.parts.iter().zip(selected) {
        for (position, argument) in part.paths.iter().enumerate() {
            let mut selections = selected.selections.iter();
            let brings_nothing = selections.all(|selection| {
                let is_empty = copy.layout == Layout::Parents && selection.is_empty();
                selection.argument != position || is_empty
            });
            if brings_nothing {
                let name = &step.name;
                deps.reporter.warn(format!(
                    "{name}: nothing is copied: {argument:?} matches no file"
                ));
            }
        }
    }
}

/// Returns what the same copy made last time, if it is still here.
fn earlier(deps: &Deps<'_>, slots: &[ActionKey]) -> Earlier {
    let record = look_up(deps, slots);
    let made = record.and_then(|record| record.state.layers.last().copied());
    match made.and_then(|made| deps.layers.layer(made.layer)) {
        Some(layer) => Earlier::new(&layer),
        None => Earlier::default(),
    }
}

fn copy_files(
    deps: &Deps<'_>,
    op: &Copy,
    parent: &State,
    selected: &[SelectedPart<'_>],
    earlier: &Earlier,
    vertex: &Vertex<'_>,
) -> Result<(Layer, Fidelity), StepError> {
    // A linked copy does not look at what is below it.
    let below = match op.link {
        true => None,
        false => Some(Below::new(deps, parent)?),
    };
    vertex.begin();
    let files: &dyn Files = match &below {
        Some(below) => below,
        None => &NoFiles,
    };
    let owner = match (&op.owner, &below) {
        (None, _) => Owner::Source,
        (Some(text), Some(below)) => {
            let owner = find_owner(below.view(), text)?;
            Owner::Ids {
                uid: owner.uid,
                gid: owner.gid,
            }
        }
        (Some(text), None) => {
            let is_number = |word: &str| word.parse::<u32>().is_ok();
            if !text
                .split(':')
                .all(|word| word.is_empty() || is_number(word))
            {
                return Err(StepError::NoRootForNames);
            }
            let owner = find_owner(&ParentView::default(), text)?;
            Owner::Ids {
                uid: owner.uid,
                gid: owner.gid,
            }
        }
    };
    let builder = deps.layers.builder()?;
    let mut source: &dyn Files = &NoFiles;
    let time = op.time.unwrap_or_else(Timestamp::now);
    let mut placement = Placement::new(files, source, owner, op.mode.as_ref(), time);
    let mut fidelity = Fidelity::Exact;
    // Sources count in their order: what one brought is written before the next one is turned to.
    for part in selected {
        fidelity = fidelity.and(copy::write(
            &builder,
            source,
            earlier,
            &placement.take(&builder),
            Turn::NotLast,
        )?);
        source = part.files;
        placement.turn_to(source);
        for selection in &part.selections {
            let archive = match part.archives {
                Archives::Unpack => Archive::open(source, selection)?,
                Archives::Keep => None,
            };
            let Some(archive) = archive else {
                placement.selection(op, selection)?;
                continue;
            };
            let destination = placement.archive(op)?;
            // What an archive holds shows while it is unpacked.
            fidelity = fidelity.and(copy::write(
                &builder,
                source,
                earlier,
                &placement.take(&builder),
                Turn::NotLast,
            )?);
            let nothing = ParentView::default();
            let view = below.as_ref().map_or(&nothing, Below::view);
            let owner = match owner {
                Owner::Source => None,
                Owner::Ids { uid, gid } => Some(kiln_snapshotter::Owner { uid, gid }),
            };
            fidelity = fidelity.and(archive.unpack(&builder, view, &destination, owner)?);
            placement.look_in(&builder);
        }
    }
    for (name, content) in &op.inline {
        placement.inline(op, name, content)?;
    }
    let is_all = placement.is_all();
    let entries = placement.into_entries();
    let below = match is_all {
        true => earlier.below(deps.layers, &entries),
        false => None,
    };
    let layer = match below {
        Some((below, differing)) => {
            fidelity = fidelity.and(copy::write(
                &builder,
                source,
                earlier,
                &differing,
                Turn::Last,
            )?);
            builder.finish_upon(&below)
        }
        None => {
            fidelity = fidelity.and(copy::write(
                &builder,
                source,
                earlier,
                &entries,
                Turn::Last,
            )?);
            builder.finish()
        }
    };
    let layer = layer.map_err(WriteError::from)?;
    if let Some(earlier) = earlier.layer() {
        deps.layers.note_likeness(&layer, earlier);
    }
    Ok((layer, fidelity))
}

/// Makes a directory, and those above it, as the step's user.
fn workdir(
    deps: &Deps<'_>,
    op: &Workdir,
    parent: &State,
    vertex: &Vertex<'_>,
) -> Result<Layer, StepError> {
    let below = Below::new(deps, parent)?;
    vertex.begin();
    let owner = match op.user.as_str() {
        "" => Owner::Source,
        user => {
            // As an owner of files, not as a process: a number alone is the group as well, and an
            // unknown name is nobody's mistake before a RUN.
            let found = find_owner(below.view(), user)?;
            Owner::Ids {
                uid: found.uid,
                gid: found.gid,
            }
        }
    };
    let time = op.time.unwrap_or_else(Timestamp::now);
    let mut placement = Placement::new(&below, &NoFiles, owner, None, time);
    placement.working_directory(&op.path)?;
    let builder = deps.layers.builder()?;
    for (path, placed) in placement.into_entries().iter() {
        let mut metadata = Metadata::of(&placed.node);
        let is_new = below.get(path.as_bytes()).is_none();
        if let (Some(time), true) = (op.time, is_new) {
            metadata.mtime = time;
        }
        builder
            .add_directory(path, &metadata)
            .map_err(WriteError::from)?;
    }
    Ok(builder.finish().map_err(WriteError::from)?)
}

/// Waits for another kiln that runs the same step; gives up when cancelled.
///
/// The kernel cannot wait for a lock and an event at once, so a thread waits for the lock. One
/// that is left behind by a cancelled build ends with the process.
pub(crate) fn wait(flight: Flight, cancel: &Cancel) -> Result<kiln_cache::Claim, StepError> {
    use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
    let done = std::sync::Arc::new(
        eventfd(0, EventfdFlags::CLOEXEC).map_err(|error| StepError::Disk(error.into()))?,
    );
    let signal = done.clone();
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    let (give, given) = std::sync::mpsc::sync_channel::<Flight>(1);
    let thread = std::thread::Builder::new().spawn(move || {
        let Ok(flight) = given.recv() else {
            return;
        };
        // Nobody may be listening any more; then the claim is dropped again.
        let _ = sender.send(flight.wait());
        let _ = rustix::io::write(&*signal, &1_u64.to_ne_bytes());
    });
    if thread.is_err() {
        return wait_alone(flight, cancel);
    }
    // It is there and takes it.
    let _ = give.send(flight);
    loop {
        let mut events = [
            PollFd::new(&*done, PollFlags::IN),
            PollFd::new(cancel, PollFlags::IN),
        ];
        match poll(&mut events, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(StepError::Disk(error.into())),
        }
        if cancel.is_triggered() {
            return Err(StepError::Cancelled);
        }
        if let Ok(claim) = receiver.try_recv() {
            return claim.map_err(StepError::Disk);
        }
    }
}

/// The same where there is no thread to be had: asks now and then.
fn wait_alone(mut flight: Flight, cancel: &Cancel) -> Result<kiln_cache::Claim, StepError> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let pause = Timespec {
        tv_sec: 0,
        tv_nsec: 50_000_000,
    };
    loop {
        flight = match flight.poll().map_err(StepError::Disk)? {
            Attempt::Claimed(claim) => return Ok(claim),
            Attempt::Busy(flight) => flight,
        };
        match poll(&mut [PollFd::new(cancel, PollFlags::IN)], Some(&pause)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(StepError::Disk(error.into())),
        }
        if cancel.is_triggered() {
            return Err(StepError::Cancelled);
        }
    }
}
