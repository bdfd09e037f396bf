//! The graph of a build: what must exist, made from what.
//!
//! Only steps that touch files are in it. What the other instructions say is folded into the steps
//! that see it (`ENV`, `WORKDIR`, `USER`, `SHELL`, `ARG`) or into the image config (`LABEL`, `CMD`,
//! …). Equal steps on equal parents are one node, so two stages that begin alike share their
//! beginning.

use std::collections::HashMap;

use kiln_cache::{GuestPath, Platform, Sha256};
use kiln_parser::Span;
use kiln_parser::chmod::Chmod;

/// A node of the graph. Its parent and sources have smaller numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepId(usize);

impl StepId {
    /// Returns the step's position in the graph.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0
    }
}

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
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Starts from an image.
    From(From),
    /// Starts from what is behind a URL.
    Remote(Box<Remote>),
    /// Copies files in.
    Copy(Box<Copy>),
    /// Runs a command.
    Run(Box<Run>),
    /// Makes a directory.
    Workdir(Workdir),
}

/// An image to start from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct From {
    /// Its manifest.
    pub manifest: Sha256,
}

/// Files that are neither in the context nor in an image.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Remote {
    /// One file.
    Download(Download),
    /// The files of a commit.
    Repository(Repository),
}

/// A file behind an `http` or `https` URL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Download {
    /// Where it is.
    pub url: String,
    /// Its name in the layer.
    pub file_name: String,
    /// What it must be, as `algorithm:hex`.
    pub checksum: Option<String>,
}

/// A git repository and what of it is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Repository {
    /// Where it is, without fragment and query.
    pub remote: String,
    /// Branch, tag or commit; the remote's default branch if absent.
    pub reference: Option<String>,
    /// The directory whose contents are wanted.
    pub subdirectory: Option<String>,
    /// The commit it must be, or the beginning of its name.
    pub commit: Option<String>,
    /// Whether `.git` comes along.
    pub git_directory: GitDirectory,
    /// Whether submodules come along.
    pub submodules: Submodules,
    /// The times that files get.
    pub times: CheckoutTimes,
}

/// Whether `.git` comes along with a repository's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GitDirectory {
    /// It stays away.
    Drop,
    /// It comes along.
    Keep,
}

/// Whether submodules come along with a repository's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Submodules {
    /// With theirs.
    Recursive,
    /// Their directories stay empty.
    Skip,
}

/// The modification times of a repository's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CheckoutTimes {
    /// When they were checked out.
    Checkout,
    /// When the commit was made.
    Commit,
}

/// `COPY`, and `ADD` of what is at hand.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Copy {
    /// Where the paths are.
    pub source: CopySource,
    /// The source arguments, expanded.
    pub paths: Vec<String>,
    /// Files written in the Dockerfile itself: name and content. Copied after the paths.
    pub inline: Vec<(String, String)>,
    /// Absolute and clean.
    pub destination: GuestPath,
    /// Whether the destination is written as a directory (`/` or `/.` at its end).
    pub into_directory: bool,
    /// `--chown`, expanded.
    pub owner: Option<String>,
    /// `--chmod`, parsed.
    pub mode: Option<Mode>,
    /// What becomes of archives.
    pub archives: Archives,
    /// `--exclude`, in order.
    pub excludes: Vec<String>,
    /// Whether the sources' directories are reproduced.
    pub parents: bool,
    /// Whether the layer is made without looking at what is below it.
    pub link: bool,
}

/// Where the paths of a [`Copy`] are looked up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CopySource {
    /// The build context.
    Context,
    /// The files of another step.
    Step(StepId),
    /// An empty root: `COPY --from=scratch`.
    Nothing,
}

/// A `--chmod` value that can be compared.
#[derive(Clone, Debug)]
pub struct Mode {
    /// As written, expanded.
    pub text: String,
    /// Its meaning.
    pub chmod: Chmod,
}

impl PartialEq for Mode {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Mode {}

impl std::hash::Hash for Mode {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

/// What becomes of local archives among the sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Archives {
    /// They are files like others (`COPY`).
    Keep,
    /// They are unpacked into the destination (`ADD`).
    Unpack,
}

/// `RUN`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Run {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// A script that is visible as `/dev/pipes/<name>` while it runs: name and content.
    pub script: Option<(String, String)>,
    /// The environment, in order. Proxies are not in it.
    pub env: Vec<(String, String)>,
    /// The working directory.
    pub cwd: GuestPath,
    /// The user as written; empty for root.
    pub user: String,
    /// What it can reach.
    pub network: Network,
    /// Names it finds in `/etc/hosts` beyond the usual ones.
    pub extra_hosts: Vec<String>,
    /// How far it is trusted.
    pub security: Security,
    /// What it runs on.
    pub platform: Platform,
}

/// What a `RUN` can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Network {
    /// What the whole build can.
    Default,
    /// The host's network, and the step says so.
    Host,
    /// Nothing.
    None,
}

/// How far a `RUN` is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Security {
    /// As any container.
    Sandbox,
    /// As kiln itself.
    Insecure,
}

/// `WORKDIR`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Workdir {
    /// The directory.
    pub path: GuestPath,
    /// Who owns what has to be made; as written, empty for root.
    pub user: String,
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
        if id == next {
            self.steps.push(step);
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

    /// Returns what a step is made from: its parent and its sources.
    pub fn inputs(&self, id: StepId) -> impl Iterator<Item = StepId> {
        let step = self.step(id);
        let source = match &step.op {
            Op::Copy(copy) => match copy.source {
                CopySource::Step(source) => Some(source),
                CopySource::Context | CopySource::Nothing => None,
            },
            Op::From(_) | Op::Remote(_) | Op::Run(_) | Op::Workdir(_) => None,
        };
        step.parent.into_iter().chain(source)
    }
}
