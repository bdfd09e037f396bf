//! Repositories and downloads as values, and the mistakes of their addresses.

use thiserror::Error;

use crate::quote::quote;

/// Something to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoteSource {
    /// A Git repository.
    Git(GitSource),
    /// What an HTTP or HTTPS server answers; the text as it was written.
    Http(String),
}

/// A Git repository and what is wanted of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GitSource {
    /// The address that Git takes: neither fragment nor query.
    pub remote: String,
    /// The branch, tag or commit to check out; a bare `commit` counts. `None` is the remote's HEAD.
    pub reference: Option<String>,
    /// The directory that is wanted instead of the whole tree, as it was written.
    pub subdirectory: Option<String>,
    /// The commit, or a prefix of its name, that the reference must turn out to be.
    pub commit: Option<String>,
    /// Whether `.git` stays, where the address says it.
    pub keep_git_dir: Option<bool>,
    /// Whether submodules are checked out too, where the address says it.
    pub submodules: Option<bool>,
    /// The times the files get.
    pub modified: Modified,
    /// Whether to ask the remote for the commit itself instead of for the reference.
    pub fetch_by_commit: bool,
}

/// The modification times of files from a repository.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Modified {
    /// When they were checked out.
    #[default]
    Checkout,
    /// When their commit was made.
    Commit,
}

/// The place in which a source is named; the rules differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SourcePlace {
    /// A source of `ADD` or `COPY`.
    Instruction,
    /// The context of a build, or one given by `--build-context`: `github.com/…` is Git there.
    BuildContext,
}

/// A mistake in the address of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReferenceError {
    /// An unknown option.
    #[error("unexpected query {}", quote(.0))]
    UnknownOption(String),
    /// An option that needs a value.
    #[error("query {} has no value", quote(.0))]
    NoValue(String),
    /// An option given twice.
    #[error("query {} has multiple values", quote(.0))]
    MultipleValues(String),
    /// A value the option does not take.
    #[error("invalid {option} value: {}", quote(.value))]
    InvalidValue {
        /// The option's name.
        option: &'static str,
        /// Its value.
        value: String,
    },
    /// Two different values for one option.
    #[error("{what} conflicts: {} vs {}", quote(.first), quote(.second))]
    Conflict {
        /// `ref`, `subdir` or `commit`.
        what: &'static str,
        /// The value found first.
        first: String,
        /// The other one.
        second: String,
    },
    /// Both a branch and a tag.
    #[error("branch conflicts with tag")]
    BranchAndTag,
    /// A percent sign that escapes nothing.
    #[error("invalid URL escape {}", quote(.0))]
    Escape(String),
}
