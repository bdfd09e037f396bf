//! Downloads and git repositories.

use kiln_parser::Modified;

/// Files that are neither in the context nor in an image.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Remote {
    /// One file.
    Download(RemoteFile),
    /// The files of a commit.
    Repository(Repository),
}

/// A file behind an `http` or `https` URL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RemoteFile {
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
