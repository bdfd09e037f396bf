//! Failures of containers, sorted.

use kiln_containers::{ContainerError, ContainerErrorKind};

use super::{Error, Explanation};

/// Sorts a failure of a container by its kind, so that every front end answers alike.
impl From<ContainerError> for Error {
    fn from(error: ContainerError) -> Self {
        match (error.kind(), error) {
            (_, ContainerError::NotFound(name)) => Self::NoSuchContainer(name),
            (_, error @ ContainerError::Io { .. }) => Self::environment("container", error),
            (ContainerErrorKind::NotFound | ContainerErrorKind::Invalid, error) => {
                Self::bad_input(error)
            }
            (ContainerErrorKind::Conflict, error) => {
                Self::Conflict(Explanation::Passed(error.into()))
            }
            (ContainerErrorKind::Environment, error) => Self::Environment {
                explanation: Explanation::Passed(error.into()),
                hint: None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::ErrorKind;

    #[test]
    fn failures_of_containers_keep_their_kind_and_words() {
        let id = kiln_containers::ContainerId::random;
        let path = || PathBuf::from("/state/containers/x");
        for (error, kind, words) in [
            (
                ContainerError::NotFound("c".to_owned()),
                ErrorKind::NotFound,
                "No such container: c",
            ),
            (
                ContainerError::Ambiguous("0".to_owned()),
                ErrorKind::Invalid,
                "multiple IDs found with provided prefix: 0",
            ),
            (
                ContainerError::NotRunning(id()),
                ErrorKind::Conflict,
                "is not running",
            ),
            (
                ContainerError::NoMonitor(id()),
                ErrorKind::Environment,
                "did not start",
            ),
            (
                ContainerError::Io {
                    path: path(),
                    source: std::io::ErrorKind::StorageFull.into(),
                },
                ErrorKind::Environment,
                "container: /state/containers/x: no storage space",
            ),
        ] {
            let error = Error::from(error);
            assert_eq!(error.kind(), kind, "{error:?}");
            let message = error.full_message();
            assert!(message.contains(words), "{message}");
        }
    }
}
