//! The result of a step of a new process.

use rustix::io::Errno;

use crate::sys::report::{Record, SetupStage};

/// The result of a step of the new process; if it fails, a record of which one it was.
pub(super) type Step<T> = Result<T, Record>;

/// Adds to an error the step that it belongs to.
pub(super) trait During<T> {
    fn during(self, stage: SetupStage, index: usize) -> Step<T>;
}

impl<T> During<T> for Result<T, Errno> {
    fn during(self, stage: SetupStage, index: usize) -> Step<T> {
        self.map_err(|errno| Record::failure(stage, index, errno))
    }
}
