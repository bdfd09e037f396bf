//! What is meant by the address of a repository.

use kiln_solver::{GitDirectory, Repository};

/// A commit that was found, and how the remote calls it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FoundCommit {
    /// The commit's full name.
    pub(super) commit: String,
    /// The branch or tag, as `refs/…`, and what it names: the commit, or an annotated tag.
    pub(super) name: Option<(String, String)>,
}

/// Returns whether `.git` comes along: only with a whole tree.
pub(super) fn keeps_git_directory(repository: &Repository) -> bool {
    repository.git_directory == GitDirectory::Keep && repository.subdirectory.is_none()
}
