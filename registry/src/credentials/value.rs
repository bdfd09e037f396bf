//! What proves to a registry who the user is, and why it cannot be read or kept.

use std::io;
use std::path::PathBuf;

use crate::secret::Secret;

/// What proves to a registry who the user is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// A user name with a password or access token.
    Password {
        /// The account.
        username: String,
        /// Its password.
        password: Secret,
    },
    /// A refresh token, exchanged for access tokens.
    Identity(Secret),
    /// An access token, sent as it is.
    Token(Secret),
}

/// Where `login` put a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// In the care of the helper of this name.
    Helper(String),
    /// In this file, encoded but not encrypted.
    File(PathBuf),
}

/// Why credentials cannot be read or stored.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The file cannot be read.
    #[error("cannot read credentials in {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The file cannot be replaced.
    #[error("cannot write credentials to {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The text is not a configuration. Says where, but not what: it may be a password.
    #[error("credentials in {place} are not valid, line {line} column {column}")]
    Syntax {
        /// The file, or the name of the inline configuration.
        place: String,
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// There is no directory to write to.
    #[error("no directory for credentials is known")]
    Nowhere,
    /// A helper failed.
    #[error(transparent)]
    Helper(#[from] HelperError),
}

/// Why a helper could not help.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// The program does not exist.
    #[error("credential helper {0} is not installed")]
    Missing(String),
    /// The program could not be run.
    #[error("credential helper {program} cannot be run")]
    Run {
        /// The program's name.
        program: String,
        /// What went wrong.
        source: io::Error,
    },
    /// The program said no.
    #[error("credential helper {program}: {message}")]
    Failed {
        /// The program's name.
        program: String,
        /// Its words.
        message: String,
    },
    /// The program's output is not what the protocol asks for.
    #[error("credential helper {0} gave an answer that is not understood")]
    Answer(String),
}
