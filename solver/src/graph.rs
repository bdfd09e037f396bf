//! The graph of a build: what must exist, made from what.
//!
//! Only steps that touch files are in it. What the other instructions say is folded into the steps
//! that see it (`ENV`, `WORKDIR`, `USER`, `SHELL`, `ARG`) or into the image config (`LABEL`, `CMD`,
//! …). Equal steps on equal parents are one node, so two stages that begin alike share their
//! beginning.

use std::collections::HashMap;

use kiln_cache::{GuestPath, Platform, Sha256, Timestamp};
use kiln_parser::chmod::Chmod;
use kiln_parser::mount::{FileOwner, Sharing};
use kiln_parser::{Modified, Span};

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

impl Op {
    /// Returns the steps whose files it reads besides its parent's, in the order written.
    pub fn sources(&self) -> impl Iterator<Item = StepId> {
        let (parts, mounts): (&[CopyPart], &[Mount]) = match self {
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

impl Mount {
    /// Returns the files of other steps that it shows.
    #[must_use]
    pub fn files(&self) -> Option<&Part> {
        match &self.kind {
            MountKind::Bind { files, .. } => Some(files),
            MountKind::Cache { initial, .. } => initial.as_ref(),
            MountKind::Tmpfs { .. } | MountKind::Secret { .. } | MountKind::Ssh { .. } => None,
        }
    }
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
    pub modified: Modified,
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

/// `COPY`, and `ADD` of what is at hand.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Copy {
    /// What is copied, in order.
    pub parts: Vec<CopyPart>,
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
    /// `--exclude`, in order.
    pub excludes: Vec<String>,
    /// Whether the sources' directories are reproduced.
    pub parents: bool,
    /// Whether the layer is made without looking at what is below it.
    pub link: bool,
}

/// Source arguments of a [`Copy`] that are looked up in one place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CopyPart {
    /// Where.
    pub source: FileSource,
    /// The arguments, expanded.
    pub paths: Vec<String>,
    /// What becomes of archives among them.
    pub archives: Archives,
}

/// A tree of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileSource {
    /// A build context.
    Context(ContextId),
    /// The files of another step.
    Step(StepId),
    /// An empty root: `COPY --from=scratch`.
    Nothing,
}

/// One of the directories of the host that a build reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContextId(pub usize);

impl ContextId {
    /// The build context; the others have names (`--build-context`).
    pub const MAIN: Self = Self(0);
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
    /// What it finds mounted, in the order written.
    pub mounts: Vec<Mount>,
    /// Devices of the host that it may use.
    pub devices: Vec<Device>,
    /// Variables whose values are secrets.
    pub secret_variables: Vec<SecretVariable>,
    /// Its name as it sees it.
    pub hostname: String,
    /// What it can reach.
    pub network: Network,
    /// Names it finds in `/etc/hosts` beyond the usual ones.
    pub extra_hosts: Vec<String>,
    /// How far it is trusted.
    pub security: Security,
    /// What it runs on.
    pub platform: Platform,
}

/// One `--mount` of a `RUN`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mount {
    /// Where; absolute and not the root.
    pub target: GuestPath,
    /// What.
    pub kind: MountKind,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MountKind {
    /// Files of another step.
    Bind {
        /// The files; those of the context are a step of their own.
        files: Part,
        /// Whether the command may write; what it writes is lost.
        access: Access,
    },
    /// A directory that outlives the build.
    Cache {
        /// Its name, with `BUILDKIT_CACHE_MOUNT_NS` in front.
        id: String,
        /// Who may use it at the same time.
        sharing: Sharing,
        /// Owner and mode of a new directory.
        owner: FileOwner,
        /// What a new directory holds.
        initial: Option<Part>,
        /// Whether the command may write.
        access: Access,
    },
    /// An empty directory in memory.
    Tmpfs {
        /// Most bytes it may hold.
        size_bytes: Option<u64>,
    },
    /// A secret as a file.
    Secret {
        /// The secret.
        id: String,
        /// Owner and mode of the file.
        owner: FileOwner,
        /// Whether the build may lack it.
        presence: Presence,
    },
    /// An agent's socket.
    Ssh {
        /// The agent.
        id: String,
        /// Owner and mode of the socket.
        owner: FileOwner,
        /// Whether the build may lack it.
        presence: Presence,
    },
}

/// A part of a step's files.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Part {
    /// The step; none for an empty root.
    pub step: Option<StepId>,
    /// The path in it.
    pub path: GuestPath,
}

/// Whether something may be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Reading only.
    ReadOnly,
    /// Reading and writing.
    ReadWrite,
}

/// Whether a build may lack what a step asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Presence {
    /// It may.
    Optional,
    /// It may not.
    Required,
}

/// A device that a vendor described for containers (CDI).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Device {
    /// Its name, `vendor.com/class=name`, or the name of its class.
    pub name: String,
    /// Whether the step can do without it.
    pub presence: Presence,
}

/// A variable whose value is a secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SecretVariable {
    /// Its name.
    pub name: String,
    /// The secret.
    pub id: String,
    /// Whether the build may lack it.
    pub presence: Presence,
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
