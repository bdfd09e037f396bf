//! Every failure, sorted by whose fault it is.

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
    /// An image that the Dockerfile mentions is not to be had.
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
        /// Whose fault it is.
        class: ErrorClass,
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
        /// Whose fault it is.
        class: ErrorClass,
        /// The exit code, if a command ended badly.
        exit_code: Option<u8>,
        /// What to do about it.
        hint: Option<String>,
    },
    /// The person asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// A file that the person named cannot be used.
    #[error("{message}")]
    Input {
        /// What is wrong, on one line.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
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
        /// Whose fault it is.
        class: ErrorClass,
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

/// Whose fault a failure is. Decides the exit code and the tone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// The user's files or arguments.
    Input,
    /// A command of the Dockerfile.
    Step,
    /// Kernel, disk or network.
    Environment,
    /// The person's own wish.
    Cancelled,
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
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Dockerfile { .. }
            | Self::Input { .. }
            | Self::NoSuchImage(_)
            | Self::NoSuchContainer(_) => ErrorClass::Input,
            Self::Base { class, .. } | Self::Step { class, .. } | Self::Registry { class, .. } => {
                *class
            }
            Self::Cancelled => ErrorClass::Cancelled,
            Self::Environment { .. } => ErrorClass::Environment,
        }
    }

    /// Returns what the person can do next, if it is known.
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

    /// Wraps a failure that somebody's input has caused, in which it may have been too much.
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
        let (class, hint) = match error.class() {
            Class::NotFound => (ErrorClass::Input, None),
            Class::Unauthorized => (
                ErrorClass::Input,
                // Without a name it was a login that was refused.
                name.map(|name| format!("log in with: kiln login {}", name.domain())),
            ),
            Class::NoPlatform | Class::Unusable | Class::Configuration => (ErrorClass::Input, None),
            Class::Cancelled => return Self::Cancelled,
            Class::RateLimited
            | Class::Network
            | Class::Tls
            | Class::Server
            | Class::Integrity
            | Class::Local => (ErrorClass::Environment, error.advice()),
        };
        Self::Registry {
            name: name.cloned(),
            message: chain(error),
            hint,
            class,
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
