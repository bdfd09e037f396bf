//! How a command ends.

use kiln_docker::time::InvalidTime;
use kiln_docker::{FilterError, TemplateError};
use kiln_engine::{Error, ErrorKind};

/// The status a command ends with, or what to say instead.
pub(crate) type Outcome = Result<Exit, Failure>;

/// An exit status. The numbers are docker's, so scripts need not be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit(pub(crate) u8);

impl Exit {
    /// All went well.
    pub(crate) const SUCCESS: Self = Self(0);
    /// Any ordinary failure.
    pub(crate) const FAILURE: Self = Self(1);
    /// A template that is none, given to `inspect`.
    pub(crate) const BAD_TEMPLATE: Self = Self(64);
    /// A flag is wrong, or a container could not be started.
    pub(crate) const BEFORE_START: Self = Self(125);
    /// The person asked to stop.
    pub(crate) const INTERRUPTED: Self = Self(130);
}

/// Why a command failed, to be printed by `main`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// What happened.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
    /// The exit status.
    pub(crate) exit: Exit,
}

impl Failure {
    /// Returns an ordinary failure.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: without_numbers(message.into()),
            hint: None,
            exit: Exit::FAILURE,
        }
    }

    /// Returns the failure of a flag or its value.
    pub(crate) fn flag(message: impl Into<String>) -> Self {
        Self::new(message).with_exit(Exit::BEFORE_START)
    }

    /// Adds what to do about it.
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Changes the exit status.
    pub(crate) fn with_exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            message: without_numbers(error.full_message()),
            hint: error.hint().map(str::to_owned),
            exit: exit_of(&error),
        }
    }
}

impl From<TemplateError> for Failure {
    fn from(error: TemplateError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<FilterError> for Failure {
    fn from(error: FilterError) -> Self {
        let hint = error.hint();
        match error {
            FilterError::Time(error) => error.into(),
            error => Self {
                hint,
                ..Self::new(error.to_string())
            },
        }
    }
}

impl From<InvalidTime> for Failure {
    fn from(error: InvalidTime) -> Self {
        Self::flag(error.to_string())
    }
}

/// Takes the numbers out that the standard library puts behind the system's words.
pub(crate) fn without_numbers(mut message: String) -> String {
    const BEGINNING: &str = " (os error ";
    while let Some(start) = message.find(BEGINNING)
        && let Some(length) = message[start..].find(')')
    {
        message.replace_range(start..=start + length, "");
    }
    message
}

/// Returns the exit status of a failure that is not a container's own.
pub(crate) fn exit_of(error: &Error) -> Exit {
    if error.kind() == ErrorKind::Cancelled {
        return Exit::INTERRUPTED;
    }
    Exit::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_errors_are_left_out() {
        let error = std::io::Error::from_raw_os_error(2);
        let failure = Failure::new(format!("open x: {error}: {error} (os error"));
        let words = "No such file or directory";
        assert_eq!(
            failure.message,
            format!("open x: {words}: {words} (os error")
        );
    }
}
