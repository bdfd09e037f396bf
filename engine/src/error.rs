//! Every failure, sorted by what a front end does about it.

mod explanation; // words, and the error behind them
mod of_containers; // failures of containers
pub(crate) mod of_export; // failures of the exporter

use std::fmt;
use std::path::PathBuf;

use kiln_oci::ImageRef;
use kiln_parser::{Diagnostic, Span, hint as suggestion};
use kiln_snapshotter::TooMuch;
use kiln_solver::StepError;

pub(crate) use explanation::chain;
pub use explanation::{Cause, Explanation};

/// Why a verb failed. Shown, it does not repeat its causes, which [`std::error::Error::source`]
/// leads to; [`Error::full_message`] puts all on one line.
#[derive(Debug)]
pub enum Error {
    /// The Dockerfile, or what the command line says about it, is wrong in one or more places.
    Dockerfile {
        /// The file.
        source_text: SourceText,
        /// What is wrong, in file order.
        diagnostics: Vec<Diagnostic>,
    },
    /// An image that the Dockerfile mentions cannot be found, read or fetched.
    Base {
        /// The file.
        source_text: SourceText,
        /// Where the image is mentioned.
        span: Span,
        /// The image as it is written, and in full.
        message: String,
        /// What happened.
        source: Cause,
        /// A stage or an image that may have been meant.
        similar: Option<String>,
        /// What to do about it.
        hint: Option<String>,
        /// What sort of failure it is.
        kind: ErrorKind,
    },
    /// A step of the build failed.
    Step {
        /// The file.
        source_text: SourceText,
        /// Where the step is written.
        span: Span,
        /// The step's name in progress.
        name: String,
        /// What happened.
        source: Box<StepError>,
        /// What sort of failure it is.
        kind: ErrorKind,
        /// The exit code, if a command ended badly.
        exit_code: Option<u8>,
        /// What to do about it.
        hint: Option<String>,
    },
    /// The user asked to stop.
    Cancelled,
    /// A file that the user named cannot be used.
    Input {
        /// What is wrong.
        explanation: Explanation,
        /// What to do about it.
        hint: Option<String>,
    },
    /// What is asked for and what there is exclude each other: a name that is taken, an image that a
    /// container runs of.
    Conflict(Explanation),
    /// There is no such image.
    NoSuchImage(String),
    /// There is no such container.
    NoSuchContainer(String),
    /// A registry does not do what it is asked for.
    Registry {
        /// The image concerned, if it is one.
        name: Option<ImageRef>,
        /// What happened.
        explanation: Explanation,
        /// What to do about it.
        hint: Option<String>,
        /// What sort of failure it is.
        kind: ErrorKind,
    },
    /// The kernel, the disk or the configuration of the machine does not allow it.
    Environment {
        /// What happened.
        explanation: Explanation,
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

/// What to do where something cannot be written for want of room.
const NO_ROOM: &str = "a disk is full: that of the state directory (kiln info names it), or that \
                       of the output; kiln system df shows what kiln takes, kiln system prune \
                       frees what nobody needs";

/// Says whether something could not be written for want of room.
fn is_no_room(error: &(dyn std::error::Error + 'static)) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    std::iter::successors(Some(error), |error| error.source())
        .filter_map(|error| error.downcast_ref::<std::io::Error>())
        .any(|error| matches!(error.kind(), StorageFull | QuotaExceeded))
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
        let hint = match self {
            Self::Base { hint, .. }
            | Self::Step { hint, .. }
            | Self::Input { hint, .. }
            | Self::Registry { hint, .. }
            | Self::Environment { hint, .. } => hint.as_deref(),
            _ => None,
        };
        hint.or_else(|| is_no_room(self).then_some(NO_ROOM))
    }

    /// Returns the whole story on one line: what failed, and why.
    #[must_use]
    pub fn full_message(&self) -> String {
        let story = chain(self);
        match self {
            Self::Base { similar, .. } => story + &suggestion(similar.as_deref()),
            _ => story,
        }
    }

    pub(crate) fn input(message: impl Into<String>) -> Self {
        Self::Input {
            explanation: Explanation::Stated(message.into()),
            hint: None,
        }
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::Conflict(Explanation::Stated(message.into()))
    }

    /// Wraps an error in what the user gave, which says it all.
    pub(crate) fn bad_input(error: impl Into<Cause>) -> Self {
        Self::Input {
            explanation: Explanation::Passed(error.into()),
            hint: None,
        }
    }

    /// Wraps an error in what the user gave, with what was being done.
    pub(crate) fn input_while(doing: impl Into<String>, error: impl Into<Cause>) -> Self {
        Self::Input {
            explanation: Explanation::While {
                doing: doing.into(),
                cause: error.into(),
            },
            hint: None,
        }
    }

    /// Wraps a failure of the machine, with what was being done.
    pub(crate) fn environment(doing: impl Into<String>, error: impl Into<Cause>) -> Self {
        Self::Environment {
            explanation: Explanation::While {
                doing: doing.into(),
                cause: error.into(),
            },
            hint: None,
        }
    }

    /// Returns a closure for `map_err`: a failure at a path.
    pub(crate) fn at(doing: &str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let doing = format!("{doing} {}", path.into().display());
        move |error| Self::environment(doing, error)
    }

    /// Says that the machine or what is stored on it does not allow something.
    pub(crate) fn environment_stated(message: impl Into<String>) -> Self {
        Self::Environment {
            explanation: Explanation::Stated(message.into()),
            hint: None,
        }
    }

    /// Adds what to do about it, unless that is said already.
    pub(crate) fn with_hint(self, advice: impl Into<String>) -> Self {
        self.with_hint_if(Some(advice.into()))
    }

    /// Adds what to do about it, if that is known and not said already.
    pub(crate) fn with_hint_if(mut self, advice: Option<String>) -> Self {
        if let Self::Base { hint, .. }
        | Self::Step { hint, .. }
        | Self::Input { hint, .. }
        | Self::Registry { hint, .. }
        | Self::Environment { hint, .. } = &mut self
            && hint.is_none()
        {
            *hint = advice;
        }
        self
    }

    pub(crate) fn registry(name: Option<&ImageRef>, error: kiln_registry::Error) -> Self {
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
            explanation: Explanation::Passed(error.into()),
            hint,
            kind,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dockerfile { diagnostics, .. } => match diagnostics.first() {
                Some(diagnostic) => f.write_str(&diagnostic.full_message()),
                None => Ok(()),
            },
            Self::Base { message, .. } => f.write_str(message),
            Self::Step { .. } => f.write_str("failed to solve"),
            Self::Cancelled => f.write_str("cancelled"),
            Self::NoSuchImage(name) => write!(f, "No such image: {name}"),
            Self::NoSuchContainer(name) => write!(f, "No such container: {name}"),
            Self::Input { explanation, .. }
            | Self::Conflict(explanation)
            | Self::Registry { explanation, .. }
            | Self::Environment { explanation, .. } => explanation.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Base { source, .. } => Some(&**source),
            Self::Step { source, .. } => Some(&**source),
            Self::Input { explanation, .. }
            | Self::Conflict(explanation)
            | Self::Registry { explanation, .. }
            | Self::Environment { explanation, .. } => explanation.untold(),
            _ => None,
        }
    }
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
        let cancelled = Error::registry(Some(&name), kiln_registry::Error::Cancelled);
        for (error, kind) in [
            (Error::NoSuchImage("app".to_owned()), ErrorKind::NotFound),
            (Error::NoSuchContainer("c".to_owned()), ErrorKind::NotFound),
            (Error::conflict("taken"), ErrorKind::Conflict),
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

    #[test]
    fn causes_are_told_once_and_kept() {
        let error = || std::io::Error::from(std::io::ErrorKind::NotFound);
        let failed = Error::environment("cannot read x", error());
        assert_eq!(failed.to_string(), "cannot read x");
        assert_eq!(failed.full_message(), format!("cannot read x: {}", error()));
        let cause = std::error::Error::source(&failed).unwrap();
        assert!(cause.is::<std::io::Error>());
        let passed = Error::bad_input(Error::environment("cannot read x", error()));
        assert_eq!(passed.full_message(), failed.full_message());
        let Error::Input { explanation, .. } = &passed else {
            panic!("{passed:?}");
        };
        assert!(explanation.cause().is_some_and(|cause| cause.is::<Error>()));
        assert_eq!(Error::input("wrong").full_message(), "wrong");
    }
}
