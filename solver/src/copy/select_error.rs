//! Why a source argument stands for nothing.

use kiln_files::GuestPath;

use crate::files::UnresolvedPath;

/// What the user may have meant by the name of a file that does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Suggestion {
    /// A file beside it, whose name is similar.
    Similar(String),
    /// The file of that name, which the ignore file hides.
    Ignored,
    /// What a link leads to, which is not there.
    LinkTarget {
        /// The first link on the way.
        link: String,
        /// Where the way ends.
        target: String,
    },
    /// There is nothing similar.
    Unknown,
}

/// Why a source argument stands for nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CopySelectError {
    /// There is no such file.
    #[error("failed to compute cache key: failed to calculate checksum: {:?}: not found", path.to_string())]
    Missing {
        /// Where it was looked for.
        path: GuestPath,
        /// What the user may have meant.
        meant: Suggestion,
    },
    /// The directory that a wildcard stands in is not there.
    #[error("lstat {0}: no such file or directory")]
    NoDirectory(GuestPath),
    /// A wildcard matches nothing in a directory of a context of which nothing else is read.
    /// BuildKit does not send that directory, and then says that it is not there.
    #[error("lstat {directory}: no such file or directory: nothing matches {argument:?}")]
    NoMatch {
        /// The directory that the wildcard stands in.
        directory: GuestPath,
        /// The argument.
        argument: String,
    },
    /// The path leads nowhere.
    #[error(transparent)]
    Unresolved(#[from] UnresolvedPath),
    /// The wildcard is malformed.
    #[error("invalid wildcard {0:?}: syntax error in pattern")]
    Pattern(String),
    /// An `--exclude` pattern is malformed.
    #[error("invalid --exclude pattern: {0}")]
    Exclude(String),
}
