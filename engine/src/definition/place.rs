//! Where the files of a context are.

use std::path::Path;

use kiln_snapshotter::UnpackedArchive;

use crate::remote_sources::RepositoryFiles;

/// Where the files of a context are.
#[derive(Debug)]
pub(super) enum ContextPlace {
    /// There are none.
    Nowhere,
    /// In a directory of the user's.
    Host(std::path::PathBuf),
    /// In an archive that was unpacked.
    Archive(UnpackedArchive),
    /// In a checkout of a repository.
    Repository(RepositoryFiles),
    /// There are none: what was named is a Dockerfile.
    Dockerfile {
        /// The URL's last part.
        name: String,
        /// What was there.
        text: Vec<u8>,
    },
}

impl ContextPlace {
    /// Returns the directory of a context that came from elsewhere.
    pub(super) fn fetched(&self) -> Option<&Path> {
        match self {
            Self::Archive(archive) => Some(archive.directory()),
            Self::Repository(checkout) => Some(checkout.directory()),
            Self::Nowhere | Self::Host(_) | Self::Dockerfile { .. } => None,
        }
    }
}
