//! Limits for a process and its children.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use crate::{ExecError, Resources, Warning};

/// A control group made for one job.
#[derive(Debug)]
pub(crate) struct Cgroup {
    procs: Vec<OwnedFd>,
}

/// Says whether the host has the version 2 hierarchy and nothing else.
pub(crate) fn is_unified() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

impl Cgroup {
    pub(crate) fn create(resources: &Resources) -> Result<Option<(Self, Vec<Warning>)>, ExecError> {
        let _ = resources;
        Ok(None)
    }
    pub(crate) fn procs_files(&self) -> &Vec<OwnedFd> {
        &self.procs
    }
    pub(crate) fn directory(&self) -> Option<BorrowedFd<'_>> {
        None
    }
    pub(crate) fn remove(self) -> bool {
        false
    }
}
