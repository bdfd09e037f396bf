//! What a step of a new process comes to.

use rustix::io::Errno;

use crate::sys::report::{Record, SetupStage};

/// What a step of the new process comes to: a record, if it fails, of which it was.
pub(super) type Step<T> = Result<T, Record>;

/// Names the step an error belongs to.
pub(super) trait During<T> {
    fn during(self, stage: SetupStage, index: usize) -> Step<T>;
}

impl<T> During<T> for Result<T, Errno> {
    fn during(self, stage: SetupStage, index: usize) -> Step<T> {
        self.map_err(|errno| Record::failure(stage, index, errno))
    }
}
