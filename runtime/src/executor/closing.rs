//! Ends all writing to roots whose changes the caller takes when their process has ended.
//!
//! With the end of its first process a sandbox has no processes any more, but one of them may have
//! passed a file or directory of the root to a program outside, over a socket. What that writes
//! later would come into a layer that is named by its content. So the overlay is made read-only
//! first: directories that others have open are of no use to them then, and while they have files
//! open, or mapped, to write to, the kernel refuses and the process counts as failed.

use std::io::ErrorKind;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use kiln_snapshotter::overlay;

use crate::{ExecError, Job, JobRoot, RootChanges};

/// How often it is tried, and how long between the attempts: what the kernel lets go of by itself
/// after the end of a process, files in a queue between two of its sockets say, takes a moment.
const ATTEMPTS: u32 = 200;
const PAUSE: Duration = Duration::from_millis(5);

/// What becomes of a root when its process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AtEnd {
    /// No process writes to it any more.
    Closed,
    /// It stays as it is: its changes are not taken, or taken by copying them.
    Left,
}

impl AtEnd {
    pub(super) fn of(job: &Job) -> Self {
        match (&job.root, job.changes) {
            (JobRoot::Layers { upper: Some(_), .. }, RootChanges::Passing) => Self::Closed,
            _ => Self::Left,
        }
    }
}

/// Ends all writing to a root.
pub(super) fn close(root: BorrowedFd<'_>) -> Result<(), ExecError> {
    for _ in 1..ATTEMPTS {
        match overlay::close_to_writers(root) {
            Err(error) if error.kind() == ErrorKind::ResourceBusy => std::thread::sleep(PAUSE),
            other => return other.map_err(failed),
        }
    }
    overlay::close_to_writers(root).map_err(failed)
}

fn failed(source: std::io::Error) -> ExecError {
    match source.kind() {
        ErrorKind::ResourceBusy => ExecError::StillWritten,
        _ => ExecError::Prepare {
            what: "making the root read-only for what has it open outside".to_owned(),
            source,
        },
    }
}
