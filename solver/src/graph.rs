//! The graph of a build: what must exist, made from what.
//!
//! Only steps that touch files are in it. What the other instructions say is folded into the steps
//! that see it (`ENV`, `WORKDIR`, `USER`, `SHELL`, `ARG`) or into the image config (`LABEL`, `CMD`,
//! …). Equal steps on equal parents are one node, so two stages that begin alike share their
//! beginning.

mod copy; // COPY and ADD
mod remote_source; // downloads and git repositories
mod run; // RUN
mod step_id; // numbers of steps

use std::collections::HashMap;

use kiln_files::GuestPath;
use kiln_oci::{Sha256, Timestamp};
use kiln_parser::Span;

pub use copy::{
    Archives, ChmodValue, ContextId, CopyLayout, CopyOp, CopyPart, FileSource, Wildcards,
};
pub use remote_source::{GitDirectory, Remote, RemoteFile, Repository, Submodules};
pub use run::{
    Access, Network, Presence, RunDevice, RunMount, RunMountKind, RunOp, SecretVariable, Security,
    StepPath,
};
pub use step_id::StepId;

/// One step: an operation on top of a parent.
#[derive(Clone, Debug)]
pub struct Step {
    /// What it does.
    pub op: Op,
    /// The step whose files it starts from; none for an empty root.
    pub parent: Option<StepId>,
    /// How it is called in progress, e.g. `[build 2/5] RUN make`.
    pub name: String,
    /// Where the instruction stands.
    pub span: Span,
    /// The stage it belongs to first, by its lower-case name or index, for `--no-cache-filter`.
    pub stage: String,
    /// Other stages that have the same step; [`Graph::add`] notes them.
    pub shared_with: Vec<String>,
}

impl Step {
    /// Returns what a log may show of the name: the stage, the number and the instruction. What
    /// follows has the values of arguments in it, and people pass secrets by those.
    pub(crate) fn label(&self) -> &str {
        let place = self.name.find("] ").map_or(0, |end| end + "] ".len());
        let rest = &self.name[place..];
        let word = rest.find(' ').unwrap_or(rest.len());
        &self.name[..place + word]
    }

    /// Returns all stages that it belongs to.
    pub fn stages(&self) -> impl Iterator<Item = &str> {
        let others = self.shared_with.iter().map(String::as_str);
        std::iter::once(self.stage.as_str()).chain(others)
    }
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Starts from an image.
    From(FromOp),
    /// Starts from what is behind a URL.
    Remote(Box<Remote>),
    /// Copies files in.
    Copy(Box<CopyOp>),
    /// Runs a command.
    Run(Box<RunOp>),
    /// Makes a directory.
    Workdir(WorkdirOp),
}

impl Op {
    /// Returns the steps whose files it reads besides its parent's, in the order written.
    pub fn sources(&self) -> impl Iterator<Item = StepId> {
        let (parts, mounts): (&[CopyPart], &[RunMount]) = match self {
            Self::Copy(copy) => (&copy.parts, &[]),
            Self::Run(run) => (&[], &run.mounts),
            Self::From(_) | Self::Remote(_) | Self::Workdir(_) => (&[], &[]),
        };
        let copied = parts.iter().filter_map(|part| match part.source {
            FileSource::Step(source) => Some(source),
            FileSource::Context(_) | FileSource::Nothing => None,
        });
        let mounted = mounts.iter().filter_map(|mount| mount.files()?.step);
        copied.chain(mounted)
    }
}

/// An image to start from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FromOp {
    /// Its manifest.
    pub manifest: Sha256,
}

/// `WORKDIR`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WorkdirOp {
    /// The directory.
    pub path: GuestPath,
    /// Who owns what has to be made; as written, empty for root.
    pub user: String,
    /// The time of what has to be made (`SOURCE_DATE_EPOCH`), if the build says.
    pub time: Option<Timestamp>,
}

/// The steps, each after those it is made from.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    steps: Vec<Step>,
    known: HashMap<(Op, Option<StepId>), StepId>,
}

impl Graph {
    /// Adds a step, or returns the equal one that is there already.
    pub fn add(&mut self, step: Step) -> StepId {
        let next = StepId(self.steps.len());
        let id = *self
            .known
            .entry((step.op.clone(), step.parent))
            .or_insert(next);
        match self.steps.get_mut(id.0) {
            None => self.steps.push(step),
            Some(known) if !known.stages().any(|stage| stage == step.stage) => {
                known.shared_with.push(step.stage);
            }
            Some(_) => {}
        }
        id
    }

    /// Returns a step.
    #[must_use]
    pub fn step(&self, id: StepId) -> &Step {
        &self.steps[id.0]
    }

    /// Returns all steps with their numbers.
    pub fn steps(&self) -> impl DoubleEndedIterator<Item = (StepId, &Step)> {
        self.steps
            .iter()
            .enumerate()
            .map(|(index, step)| (StepId(index), step))
    }

    /// Returns the number of steps.
    #[must_use]
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Says whether there are no steps.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Returns what a step is made from: its parent and its sources, each once.
    pub fn inputs(&self, id: StepId) -> impl Iterator<Item = StepId> {
        let step = self.step(id);
        let mut inputs: Vec<StepId> = step.parent.into_iter().collect();
        for source in step.op.sources() {
            if !inputs.contains(&source) {
                inputs.push(source);
            }
        }
        inputs.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_ends_before_values_of_arguments() {
        for (name, expected) in [
            ("[build 2/5] RUN curl --user me:secret x", "[build 2/5] RUN"),
            ("[linux/arm64 1/1] WORKDIR /a", "[linux/arm64 1/1] WORKDIR"),
            ("FROM base AS secret", "FROM"),
            ("[2/2] RUN", "[2/2] RUN"),
        ] {
            let step = Step {
                op: Op::From(FromOp {
                    manifest: Sha256::of(b"base"),
                }),
                parent: None,
                name: name.to_owned(),
                span: Span { start: 0, end: 0 },
                stage: "build".to_owned(),
                shared_with: Vec::new(),
            };
            assert_eq!(step.label(), expected);
        }
    }
}
