//! `COPY` and `ADD`.

use kiln_cache::GuestPath;
use kiln_parser::chmod::Chmod;

use super::StepId;

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
