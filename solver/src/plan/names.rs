//! What names of images and of build contexts stand for.

use std::path::PathBuf;

use kiln_oci::{Sha256, TaggedRef};
use kiln_parser::{Add, Address, GitSource, RemoteSource, download_name};

use crate::graph::{ContextId, GitDirectory, Remote, RemoteFile, Repository, Submodules};

/// What a name stands for that is no stage's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamedSource {
    /// An empty root.
    Scratch,
    /// An image.
    Image(ImageSource),
    /// A directory of the host.
    Directory(ContextId),
    /// A download or a repository.
    Remote(Remote),
}

/// Where an image is found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ImageSource {
    /// In the local store or in a registry.
    Registry(TaggedRef),
    /// In an image layout on the host.
    Layout {
        /// What the build calls it.
        name: TaggedRef,
        /// The layout.
        directory: PathBuf,
        /// Which image of it.
        tag: Option<String>,
        /// Which manifest or index of it; goes before the tag.
        digest: Option<Sha256>,
    },
}

impl ImageSource {
    /// Returns what the image is called in messages and in the registry.
    #[must_use]
    pub fn name(&self) -> &TaggedRef {
        match self {
            Self::Registry(name) | Self::Layout { name, .. } => name,
        }
    }
}

/// Returns the form in which names of build contexts are compared: an image name as people write
/// it, without `:latest`. None if it is no image name, and so no context's either.
#[must_use]
pub fn context_name(text: &str) -> Option<String> {
    let name = text.parse::<TaggedRef>().ok()?.familiar();
    Some(match name.strip_suffix(":latest") {
        Some(bare) => bare.to_owned(),
        None => name,
    })
}

impl Remote {
    /// Describes what is to be fetched. A download is called by the end of its URL.
    #[must_use]
    pub fn new(source: RemoteSource, git_directory: GitDirectory) -> Self {
        match source {
            RemoteSource::Http(url) => Self::Download(RemoteFile {
                file_name: download_name(&url),
                url,
                checksum: None,
            }),
            RemoteSource::Git(source) => Self::Repository(repository(source, git_directory)),
        }
    }

    /// Returns the address, as progress and receipts show it: without passwords and signatures.
    #[must_use]
    pub fn address(&self) -> String {
        match self {
            Self::Download(download) => Address::of(&download.url).shown(),
            Self::Repository(repository) => {
                let remote = Address::of(&repository.remote).without_password();
                match &repository.reference {
                    Some(reference) => format!("{remote}#{reference}"),
                    None => remote,
                }
            }
        }
    }
}

fn repository(source: GitSource, git_directory: GitDirectory) -> Repository {
    let GitSource {
        remote,
        reference,
        subdirectory,
        commit,
        keep_git_dir,
        submodules,
        modified,
        // Every reference is resolved to its commit first.
        fetch_by_commit: _,
    } = source;
    Repository {
        remote,
        reference,
        subdirectory,
        commit,
        git_directory: match keep_git_dir {
            None => git_directory,
            Some(true) => GitDirectory::Keep,
            Some(false) => GitDirectory::Drop,
        },
        submodules: match submodules {
            Some(false) => Submodules::Skip,
            Some(true) | None => Submodules::Recursive,
        },
        modified,
    }
}

/// Describes what an `ADD` fetches; `checksum` is that of the instruction, expanded.
pub(super) fn added_remote(source: RemoteSource, add: &Add, checksum: Option<&str>) -> Remote {
    let git_directory = match add.keep_git_dir {
        Some(true) => GitDirectory::Keep,
        Some(false) | None => GitDirectory::Drop,
    };
    let mut remote = Remote::new(source, git_directory);
    if let Some(checksum) = checksum {
        match &mut remote {
            Remote::Download(download) => download.checksum = Some(checksum.to_owned()),
            Remote::Repository(repository) => repository.commit = Some(checksum.to_owned()),
        }
    }
    remote
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_contexts_are_compared_as_people_write_them() {
        for (text, expected) in [
            ("alpine", "alpine"),
            ("alpine:latest", "alpine"),
            ("docker.io/library/alpine", "alpine"),
            ("alpine:3.20", "alpine:3.20"),
            ("example.com/a/b", "example.com/a/b"),
        ] {
            assert_eq!(context_name(text).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(context_name("UPPER"), None);
    }
}
