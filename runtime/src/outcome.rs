//! How a job ended, and why one could not be run.

use std::io;
use std::path::PathBuf;

use kiln_files::GuestPath;

use crate::{Ulimit, outer_filter};

/// What is known after a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobOutcome {
    /// How the process ended.
    pub end: End,
    /// Whether the kernel killed something in the job for want of memory; false if unknown.
    pub out_of_memory: bool,
    /// What the process read of its root.
    pub observed: Observed,
    /// Limits that were left out, and the like.
    pub warnings: Vec<Warning>,
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It returned a code.
    Exited(u8),
    /// A signal ended it.
    Killed(i32),
    /// The caller asked it to stop.
    Cancelled,
    /// There is no such program.
    NotFound {
        /// What the first argument says.
        program: String,
        /// Whether it was looked for in `PATH`.
        searched: bool,
        /// What is missing instead, if the program itself is there.
        missing: Option<String>,
    },
    /// The program is there but cannot be executed.
    NotExecutable {
        /// What the first argument says.
        program: String,
        /// The kernel's reason, and what is known about it.
        reason: String,
    },
}

impl End {
    /// Returns the exit code a shell would see: 128 plus a signal, 127 and 126 for programs that
    /// could not be started, 130 for a cancelled one (docs/spec/cli.md 0.1).
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Exited(code) => *code,
            Self::Killed(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
            Self::Cancelled => 130,
            Self::NotFound { .. } => 127,
            Self::NotExecutable { .. } => 126,
        }
    }

    /// Says why the program did not start; none if it did.
    #[must_use]
    pub fn start_failure(&self) -> Option<String> {
        match self {
            Self::Exited(_) | Self::Killed(_) | Self::Cancelled => None,
            Self::NotFound {
                program,
                searched: true,
                ..
            } => Some(format!(
                "exec: {program:?}: executable file not found in $PATH"
            )),
            Self::NotFound {
                program,
                searched: false,
                missing,
            } => {
                let missing = missing.as_ref().map(|what| format!(": {what}"));
                let missing = missing.unwrap_or_default();
                Some(format!(
                    "exec: {program:?}: no such file or directory{missing}"
                ))
            }
            Self::NotExecutable { program, reason } => Some(format!("exec: {program:?}: {reason}")),
        }
    }
}

/// What a job read of its root, if kiln watched it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed {
    /// Kiln did not watch, so the result is valid for this very root only.
    Nothing,
}

/// A wish that could not be met without being vital.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// A limit was left out.
    #[error("no {controller} control group: {reason}; the {limit} limit is not applied")]
    LimitIgnored {
        /// The controller that is missing.
        controller: &'static str,
        /// The limit it would have kept.
        limit: &'static str,
        /// Why it is missing.
        reason: String,
    },
}

/// Why a job could not be run.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// There is nothing to execute.
    #[error("no command specified")]
    NoCommand,
    /// A string cannot be passed to the kernel.
    #[error("{what} holds a zero byte")]
    ZeroByte {
        /// Which string.
        what: String,
    },
    /// The user namespace has no such id.
    #[error(
        "{kind} id {id} does not exist in this user namespace; give this user a range of ids \
             in /etc/subuid and /etc/subgid and install newuidmap and newgidmap"
    )]
    UnmappedId {
        /// `user` or `group`.
        kind: &'static str,
        /// The id.
        id: u32,
    },
    /// The root itself cannot be a mount's target.
    #[error("invalid mount target \"/\"")]
    MountOnRoot,
    /// Something on the way to a running process failed before the process existed.
    #[error("{what}")]
    Prepare {
        /// What was being done.
        what: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The new process failed to set itself up.
    #[error("{what}")]
    Setup {
        /// What it was doing.
        what: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The working directory cannot be entered or made.
    #[error("working directory {path}")]
    WorkingDirectory {
        /// Which.
        path: GuestPath,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The way to the working directory leads over a link that is not the image's.
    #[error(
        "working directory {path}: too many symbolic links, or one of /proc that leads out of the \
             image"
    )]
    WorkingDirectoryLink {
        /// Which.
        path: GuestPath,
    },
    /// A directory that is to be there is something else, or cannot be made.
    #[error("making the directory {path}")]
    Directory {
        /// Which.
        path: GuestPath,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The source of a bind mount is missing or unreadable.
    #[error("mount source {}", path.display())]
    MountSource {
        /// The host's path.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// What a mount is to show is not in its layers, or not below the directory to take it from.
    #[error("source {path} of the mount at {target}")]
    MountPart {
        /// The mount's target.
        target: GuestPath,
        /// The path inside the layers or the directory.
        path: GuestPath,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A mount could not be made inside the root.
    #[error("mounting {target}")]
    Mount {
        /// Where.
        target: GuestPath,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The kernel refuses a `/proc` in which only the job's processes are seen.
    #[error(
        "the kernel refuses a new /proc, because parts of the one around kiln are hidden, as they \
             are in containers; run kiln where they are not (--security-opt systempaths=unconfined), \
             or let commands see all processes of this machine with KILN_OUTER_PROC=1"
    )]
    ProcRefused,
    /// A mount's target is missing in another mount, where it cannot be made.
    #[error(
        "mounting {target}: it does not exist in the mount at {outer}, which is read-only, so it \
             cannot be made there"
    )]
    MountPointInReadOnly {
        /// The target.
        target: GuestPath,
        /// The target of the mount that would have to hold it.
        outer: GuestPath,
    },
    /// A resource limit is not a possible one, or above what this user may set.
    #[error("setting the limit {limit}")]
    Ulimit {
        /// The limit.
        limit: Ulimit,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The caller's own limit is lower than the one that jobs are promised, and cannot be raised.
    #[error(
        "the limit {name}={value} that kiln was started with would change what commands come to; \
             start it without (ulimit)"
    )]
    InheritedLimit {
        /// The limit's command line name.
        name: &'static str,
        /// What it is.
        value: u64,
    },
    /// A device cannot be given to the job.
    #[error("device {} at {target}", host.display())]
    Device {
        /// Where it was to be seen.
        target: GuestPath,
        /// The host's device node.
        host: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A limit was asked for that nothing can keep.
    #[error("cannot limit {limit}: {reason}")]
    Limit {
        /// What was to be limited.
        limit: &'static str,
        /// Why it cannot.
        reason: String,
    },
    /// A program outside has files of the root open when the process has ended: the layer made of it
    /// might still change.
    #[error(
        "a process outside this step still has files of it open for writing, or files that it \
             deleted, and could change what is kept of it; let it close them before the step ends"
    )]
    StillWritten,
    /// The new process ended without a word.
    #[error("the sandbox ended before the program started")]
    Vanished,
}

impl ExecError {
    pub(crate) fn mount(target: &GuestPath) -> impl FnOnce(rustix::io::Errno) -> Self {
        let target = target.clone();
        move |errno| Self::Mount {
            target,
            source: errno.into(),
        }
    }

    /// As [`ExecError::prepare`], where a process was to be started.
    pub(crate) fn start(what: &str) -> impl FnOnce(rustix::io::Errno) -> Self {
        let what = what.to_owned();
        move |errno| Self::Prepare {
            what,
            source: outer_filter::explained(kiln_threads::cannot_start(errno.into())),
        }
    }

    pub(crate) fn prepare(what: impl Into<String>) -> impl FnOnce(rustix::io::Errno) -> Self {
        let what = what.into();
        move |errno| Self::Prepare {
            what,
            source: errno.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_a_shell() {
        assert_eq!(End::Exited(3).code(), 3);
        assert_eq!(End::Killed(9).code(), 137);
        let missing = End::NotFound {
            program: "nocmd".to_owned(),
            searched: true,
            missing: None,
        };
        assert_eq!(missing.code(), 127);
        assert_eq!(
            missing.start_failure().unwrap(),
            "exec: \"nocmd\": executable file not found in $PATH"
        );
    }
}
