//! `COPY` and `ADD`.

use kiln_files::GuestPath;
use kiln_oci::Timestamp;
use kiln_parser::chmod::Chmod;

use super::step_id::StepId;

/// `COPY`, and `ADD` of local files.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CopyOp {
    /// What is copied, in order.
    pub parts: Vec<CopyPart>,
    /// Files written in the Dockerfile itself: name and content. Copied after the paths.
    pub inline: Vec<(String, String)>,
    /// The time of these (`SOURCE_DATE_EPOCH`), if the build says and there are any.
    pub time: Option<Timestamp>,
    /// Absolute and clean.
    pub destination: GuestPath,
    /// Whether the destination is written as a directory (`/` or `/.` at its end).
    pub into_directory: bool,
    /// `--chown`, expanded.
    pub owner: Option<String>,
    /// `--chmod`, parsed.
    pub mode: Option<ChmodValue>,
    /// `--exclude`, in order.
    pub excludes: Vec<String>,
    /// Where in the destination it goes.
    pub layout: CopyLayout,
    /// Whether the layer is made without looking at what is below it.
    pub link: bool,
}

/// Source arguments of a [`CopyOp`] that are looked up in one place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CopyPart {
    /// Where.
    pub source: FileSource,
    /// The arguments, expanded.
    pub paths: Vec<String>,
    /// Whether they may be patterns.
    pub wildcards: Wildcards,
    /// What becomes of archives among them.
    pub archives: Archives,
}

/// Whether source arguments may be patterns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wildcards {
    /// They may.
    Expanded,
    /// Each is the path of a file.
    Literal,
}

/// Where in the destination the sources go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CopyLayout {
    /// Directories give what is in them, files and links to them their names.
    Contents,
    /// The directories around are made too (`--parents`).
    Parents,
    /// Everything goes where it is in the source, the links on the way to it too.
    InPlace,
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
pub struct ChmodValue {
    /// As written, expanded.
    pub text: String,
    /// Its meaning.
    pub chmod: Chmod,
}

impl PartialEq for ChmodValue {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for ChmodValue {}

impl std::hash::Hash for ChmodValue {
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
