//! Every failure, sorted by what a front end does about it.

use std::path::PathBuf;

use kiln_oci::ImageRef;
use kiln_parser::{Diagnostic, Span};
use kiln_snapshotter::TooMuch;

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Dockerfile, or what the command line says about it, is wrong in one or more places.
    #[error("{}", diagnostics.first().map(Diagnostic::full_message).unwrap_or_default())]
    Dockerfile {
        /// The file.
        source_text: SourceText,
        /// What is wrong, in file order.
        diagnostics: Vec<Diagnostic>,
    },
    /// An image that the Dockerfile mentions cannot be had.
    #[error("{message}")]
    Base {
        /// The file.
        source_text: SourceText,
        /// Where the image is mentioned.
        span: Span,
        /// The whole story, on one line.
        message: String,
        /// What to do about it.
        hint: Option<String>,
        /// What sort of failure it is.
        kind: ErrorKind,
    },
    /// A step of the build failed.
    #[error("failed to solve: {message}")]
    Step {
        /// The file.
        source_text: SourceText,
        /// Where the step is written.
        span: Span,
        /// The step's name in progress.
        name: String,
        /// What happened, causes included.
        message: String,
        /// What sort of failure it is.
        kind: ErrorKind,
        /// The exit code, if a command ended badly.
        exit_code: Option<u8>,
        /// What to do about it.
        hint: Option<String>,
    },
    /// The user asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// A file that the user named cannot be used.
    #[error("{message}")]
    Input {
        /// What is wrong, on one line.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// What is asked for and what there is exclude each other: a name that is taken, an image that a
    /// container runs of.
    #[error("{0}")]
    Conflict(String),
    /// There is no such image.
    #[error("No such image: {0}")]
    NoSuchImage(String),
    /// There is no such container.
    #[error("No such container: {0}")]
    NoSuchContainer(String),
    /// A registry does not do what it is asked for.
    #[error("{message}")]
    Registry {
        /// The image concerned, if it is one.
        name: Option<ImageRef>,
        /// What happened, on one line.
        message: String,
        /// What to do about it.
        hint: Option<String>,
        /// What sort of failure it is.
        kind: ErrorKind,
    },
    /// The kernel, the disk or the configuration of the machine does not allow it.
    #[error("{message}")]
    Environment {
        /// What happened, causes included, on one line.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
}

/// What sort of failure it is: decides a command's exit code, and the status that an API answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The user's files or the request are wrong (400).
    Invalid,
    /// A registry wants to know better who asks (401, 403).
    Unauthorized,
    /// What the request names does not exist, here or in a registry (404).
    NotFound,
    /// What is asked for does not go with what there is (409).
    Conflict,
    /// A command of the Dockerfile ended badly.
    Step,
    /// Kernel, disk or network (500).
    Environment,
    /// The user asked to stop.
    Cancelled,
}

impl ErrorKind {
    /// Says whether the same request may succeed another time, on another machine or with other
    /// servers.
    pub(crate) fn is_of_environment(self) -> bool {
        matches!(self, Self::Environment | Self::Cancelled)
    }
}

/// The text of a Dockerfile, for excerpts.
#[derive(Clone, Debug)]
pub struct SourceText {
    /// How the file is called in messages.
    pub name: String,
    /// What it holds.
    pub bytes: std::sync::Arc<[u8]>,
}

impl Error {
    /// Sorts the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Dockerfile { .. } | Self::Input { .. } => ErrorKind::Invalid,
            Self::Conflict(_) => ErrorKind::Conflict,
            Self::NoSuchImage(_) | Self::NoSuchContainer(_) => ErrorKind::NotFound,
            Self::Base { kind, .. } | Self::Step { kind, .. } | Self::Registry { kind, .. } => {
                *kind
            }
            Self::Cancelled => ErrorKind::Cancelled,
            Self::Environment { .. } => ErrorKind::Environment,
        }
    }

    /// Returns what the user can do next, if it is known.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Base { hint, .. }
            | Self::Step { hint, .. }
            | Self::Input { hint, .. }
            | Self::Registry { hint, .. }
            | Self::Environment { hint, .. } => hint.as_deref(),
            _ => None,
        }
    }

    /// Wraps a failure that foreign input has caused, in which it may have been too much.
    pub(crate) fn unpacking(error: &(dyn std::error::Error + 'static)) -> Self {
        Self::Input {
            message: chain(error),
            hint: unpack_hint(error),
        }
    }

    pub(crate) fn input(message: impl Into<String>) -> Self {
        Self::Input {
            message: message.into(),
            hint: None,
        }
    }

    /// Wraps a failure of the machine, with what was being done.
    pub(crate) fn environment(doing: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::Environment {
            message: format!("{doing}: {}", chain(error)),
            hint: None,
        }
    }

    /// Returns a closure for `map_err`: a failure at a path.
    pub(crate) fn at(doing: &str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let doing = format!("{doing} {}", path.into().display());
        move |error| Self::environment(&doing, &error)
    }

    pub(crate) fn registry(name: Option<&ImageRef>, error: &kiln_registry::Error) -> Self {
        use kiln_registry::ErrorClass as Class;
        let (kind, hint) = match error.class() {
            Class::NotFound => (ErrorKind::NotFound, None),
            Class::Unauthorized => (
                ErrorKind::Unauthorized,
                // Without a name it was a login that was refused.
                name.map(|name| format!("log in with: kiln login {}", name.domain())),
            ),
            Class::NoPlatform | Class::Unusable | Class::Configuration => {
                (ErrorKind::Invalid, None)
            }
            Class::Cancelled => return Self::Cancelled,
            Class::RateLimited
            | Class::Network
            | Class::Tls
            | Class::Server
            | Class::Integrity
            | Class::Local => (ErrorKind::Environment, error.advice()),
        };
        Self::Registry {
            name: name.cloned(),
            message: chain(error),
            hint,
            kind,
        }
    }
}

/// Returns an error and its causes on one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Returns what helps where more came of an archive than may.
pub(crate) fn unpack_hint(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let hint =
        "if this is what it should be, allow more with KILN_UNPACK_LIMIT or KILN_UNPACK_RATIO";
    TooMuch::among(error).map(|_| hint.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_what_a_front_end_answers() {
        let name: ImageRef = "registry.test/app:1".parse().unwrap();
        let cancelled = Error::registry(Some(&name), &kiln_registry::Error::Cancelled);
        for (error, kind) in [
            (Error::NoSuchImage("app".to_owned()), ErrorKind::NotFound),
            (Error::NoSuchContainer("c".to_owned()), ErrorKind::NotFound),
            (Error::Conflict("taken".to_owned()), ErrorKind::Conflict),
            (Error::input("wrong"), ErrorKind::Invalid),
            (cancelled, ErrorKind::Cancelled),
            (
                Error::at("cannot read", "x")(std::io::ErrorKind::NotFound.into()),
                ErrorKind::Environment,
            ),
        ] {
            assert_eq!(error.kind(), kind, "{error}");
        }
    }
}
