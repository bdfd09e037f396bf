//! Why something about a container failed.

use std::io;
use std::path::{Path, PathBuf};

use crate::{ContainerId, ContainerName};

/// Why something about a container failed. The texts are Docker's (docs/spec/cli.md 0.3 and 5).
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// No container has this name or id.
    #[error("No such container: {0}")]
    NotFound(String),
    /// Several ids start like this.
    #[error("multiple IDs found with provided prefix: {0}")]
    Ambiguous(String),
    /// Another container has the name.
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{by}\". You \
         have to remove (or rename) that container to be able to reuse that name."
    )]
    NameTaken {
        /// The name.
        name: ContainerName,
        /// Who has it.
        by: ContainerId,
    },
    /// It runs already, or is just being started or removed.
    #[error("container {0} is already running")]
    AlreadyRunning(ContainerId),
    /// It does not run.
    #[error("container {0} is not running")]
    NotRunning(ContainerId),
    /// It runs and may not be removed.
    #[error(
        "cannot remove container \"{0}\": container is running: stop the container before \
         removing or force remove"
    )]
    Running(ContainerName),
    /// Its monitor refused.
    #[error("container {id}: {reason}")]
    Refused {
        /// Which.
        id: ContainerId,
        /// Its answer.
        reason: String,
    },
    /// The monitor could not be started, or ended without a word.
    #[error("the monitor of container {0} did not start")]
    NoMonitor(ContainerId),
    /// The description of a container cannot be stored; secrets must not be.
    #[error("{} cannot be written", path.display())]
    NotStorable {
        /// Where.
        path: PathBuf,
        /// What refuses.
        #[source]
        source: serde_json::Error,
    },
    /// A file of a container cannot be understood.
    #[error("{} is damaged: `kiln rm -f {id}` removes the container", path.display())]
    Damaged {
        /// The container.
        id: ContainerId,
        /// Which.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// A newer kiln made it, or its description was changed by hand.
    #[error("container {id} cannot be started: {what}")]
    NotUnderstood {
        /// The container.
        id: ContainerId,
        /// What is not understood of it.
        what: String,
    },
    /// A file or directory of it cannot be read or written.
    #[error("{}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

/// What sort of failure it is: what a front end answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerErrorKind {
    /// No container is meant (404).
    NotFound,
    /// What is asked for does not go with the state of the containers: a name is taken, a container
    /// runs or does not (409).
    Conflict,
    /// The request is wrong (400).
    Invalid,
    /// Kernel, disk, or the files of a container (500).
    Environment,
}

impl ContainerError {
    /// Sorts the error.
    #[must_use]
    pub fn kind(&self) -> ContainerErrorKind {
        match self {
            Self::NotFound(_) => ContainerErrorKind::NotFound,
            Self::NameTaken { .. }
            | Self::AlreadyRunning(_)
            | Self::NotRunning(_)
            | Self::Running(_) => ContainerErrorKind::Conflict,
            Self::Ambiguous(_) | Self::NotStorable { .. } => ContainerErrorKind::Invalid,
            Self::Refused { .. }
            | Self::NoMonitor(_)
            | Self::Damaged { .. }
            | Self::NotUnderstood { .. }
            | Self::Io { .. } => ContainerErrorKind::Environment,
        }
    }

    pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}
