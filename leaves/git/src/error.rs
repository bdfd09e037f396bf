//! Why a repository, or something in it, cannot be had.

use std::fmt;
use std::io;
use std::num::ParseIntError;

/// Why git did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller asked to stop.
    #[error("cancelled")]
    Stopped,
    /// It said no.
    #[error(transparent)]
    Refused(GitRefusal),
    /// There is no such program.
    #[error("git is not installed, and {0} is a git repository: install the program git")]
    NotInstalled(String),
    /// It could not be started, or not be listened to.
    #[error("cannot run git")]
    Run(#[source] io::Error),
    /// A remote without a default branch was asked for it.
    #[error("{0} has no default branch: name a branch, a tag or a commit behind #")]
    NoDefaultBranch(String),
    /// No branch, tag or commit has this name.
    #[error("repository {remote} does not contain ref {reference}")]
    UnknownReference {
        /// The remote.
        remote: String,
        /// The name.
        reference: String,
    },
    /// A commit that was promised is no name of one.
    #[error("invalid checksum {0} for Git source, expected hex commit hash")]
    InvalidPromise(String),
    /// Another commit was promised.
    #[error("expected checksum to match {promised}, got {found}")]
    BrokenPromise {
        /// The beginning of its name.
        promised: String,
        /// What was found.
        found: String,
    },
    /// The commit has no such directory.
    #[error("subdirectory {0:?} is not in the repository")]
    NoSubdirectory(String),
    /// A file is where a directory should be.
    #[error("{0:?} is not a directory of the repository")]
    NoDirectory(String),
    /// A directory of the commit cannot be opened.
    #[error("cannot open a subdirectory")]
    Subdirectory(#[source] io::Error),
    /// What git says of a commit's time is no time.
    #[error("cannot read a commit's time")]
    Time(#[source] ParseIntError),
    /// Modes and times cannot be set.
    #[error("cannot finish a checkout")]
    Shape(#[source] io::Error),
    /// The directories that the caller gave cannot be written to.
    #[error("cannot write to the directory of a repository")]
    Write(#[source] io::Error),
}

impl Error {
    /// Says whether the same may succeed another time: the network, a server or this machine is to
    /// blame, not what was asked for.
    #[must_use]
    pub fn is_of_environment(&self) -> bool {
        match self {
            Self::Stopped
            | Self::Run(_)
            | Self::Subdirectory(_)
            | Self::Time(_)
            | Self::Shape(_)
            | Self::Write(_) => true,
            Self::Refused(refusal) => refusal.says_one_of(&ENVIRONMENT),
            Self::NotInstalled(_)
            | Self::NoDefaultBranch(_)
            | Self::UnknownReference { .. }
            | Self::InvalidPromise(_)
            | Self::BrokenPromise { .. }
            | Self::NoSubdirectory(_)
            | Self::NoDirectory(_) => false,
        }
    }

    /// Returns what git wants to have to go on, if it says so.
    #[must_use]
    pub fn need(&self) -> Option<GitNeed> {
        let Self::Refused(refusal) = self else {
            return None;
        };
        let need = NEEDS.iter().find(|(text, _)| refusal.says(text));
        need.map(|(_, need)| *need)
    }

    /// Says whether git said something with this in it.
    pub(crate) fn mentions(&self, text: &str) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.says(text))
    }

    /// Takes what git said for the remote's last word: what lies on this machine is not to blame.
    pub(crate) fn of_remote(self) -> Self {
        match self {
            Self::Refused(refusal) => Self::Refused(GitRefusal {
                may_be_ours: false,
                ..refusal
            }),
            other => other,
        }
    }
}

/// What git has to know of the user to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GitNeed {
    /// Who the user is, to a server behind HTTP.
    Token,
    /// The same, and what was given is not it.
    AnotherToken,
    /// Who the user is, to a server behind ssh.
    Key,
    /// Whether a server behind ssh may have another key than last time.
    HostKey,
}

/// A no of git's.
#[derive(Debug)]
pub struct GitRefusal {
    /// The remote, as it may be shown.
    pub(crate) remote: String,
    /// Its words, cleaned.
    pub(crate) words: String,
    /// Whether it said anything.
    pub(crate) is_spoken: bool,
    /// Whether what lies on this machine may be to blame.
    pub(crate) may_be_ours: bool,
}

impl GitRefusal {
    fn says(&self, text: &str) -> bool {
        self.words.contains(text)
    }

    fn says_one_of(&self, texts: &[&str]) -> bool {
        texts.iter().any(|text| self.says(text))
    }
}

impl fmt::Display for GitRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "git could not read {}: {}", self.remote, self.words)
    }
}

impl std::error::Error for GitRefusal {}

/// Says whether words of git may be about what lies on this machine.
pub(crate) fn may_be_ours(words: &str, is_network: bool) -> bool {
    if is_network {
        let needs = NEEDS.iter().map(|(text, _)| *text);
        let mut elsewhere = ENVIRONMENT.into_iter().chain(SERVER).chain(needs);
        !elsewhere.any(|text| words.contains(text))
    } else {
        !words.contains(NO_SPACE)
    }
}

/// What git, curl and ssh say when the network or a server is at fault, or the disk.
const ENVIRONMENT: [&str; 10] = [
    "Could not resolve host",
    "Name or service not known",
    "Temporary failure in name resolution",
    "onnection refused",
    "onnection reset",
    "timed out",
    "unable to connect",
    "ailed to connect",
    "hung up unexpectedly",
    NO_SPACE,
];
const NO_SPACE: &str = "No space left on device";

/// What they say when a server does not give what it was asked for.
const SERVER: [&str; 4] = [
    "remote error: ",
    "unable to access '",
    "returned error: ",
    "does not appear to be a git repository",
];

/// What they say when they want to know who the user is.
const NEEDS: [(&str, GitNeed); 4] = [
    ("could not read Username", GitNeed::Token),
    ("Authentication failed", GitNeed::AnotherToken),
    ("Permission denied (publickey", GitNeed::Key),
    ("Host key verification failed", GitNeed::HostKey),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(words: &str) -> Error {
        Error::Refused(GitRefusal {
            remote: "https://h/x".to_owned(),
            words: words.to_owned(),
            is_spoken: true,
            may_be_ours: true,
        })
    }

    #[test]
    fn words_of_git_say_who_is_to_blame() {
        for (words, is_of_environment, need) in [
            ("fatal: Could not resolve host: h", true, None),
            (
                "fatal: could not read Username for 'h'",
                false,
                Some(GitNeed::Token),
            ),
            (
                "fatal: Authentication failed",
                false,
                Some(GitNeed::AnotherToken),
            ),
            ("Permission denied (publickey).", false, Some(GitNeed::Key)),
            (
                "Host key verification failed.",
                false,
                Some(GitNeed::HostKey),
            ),
            ("fatal: bad object", false, None),
        ] {
            let error = refused(words);
            assert_eq!(error.is_of_environment(), is_of_environment, "{words}");
            assert_eq!(error.need(), need, "{words}");
        }
        let error = refused("error: x");
        assert_eq!(
            error.to_string(),
            "git could not read https://h/x: error: x"
        );
        assert!(Error::Stopped.is_of_environment());
    }

    #[test]
    fn a_server_that_refuses_leaves_the_mirror_alone() {
        assert!(may_be_ours("fatal: bad object HEAD", true));
        assert!(!may_be_ours("fatal: remote error: no", true));
        assert!(!may_be_ours("fatal: Authentication failed", true));
        assert!(may_be_ours("fatal: Authentication failed", false));
        assert!(!may_be_ours("error: No space left on device", false));
    }
}
