//! The control groups of a job: for its limits, and for the devices it may use.

use std::ffi::OsStr;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::context::ExecutorContext;
use super::inside::open_inside;
use super::nodes::{Given, OtherNodes};
use crate::cgroup::{self, Cgroup, Controlled};
use crate::{ExecError, Job, JobSecurity, MountAccess, MountSource, Warning};

/// The control groups of a job. They are removed with this, if no process is in them any more.
#[derive(Debug)]
pub(crate) struct Groups {
    limits: Option<Cgroup>,
    control: Option<Controlled>,
    security: JobSecurity,
}

impl Groups {
    /// Makes the groups, with all rules on them, before there is a process to enter them.
    pub(super) fn create(
        context: &ExecutorContext,
        job: &Job,
        given: &[Given<'_>],
    ) -> Result<(Self, Vec<Warning>), ExecError> {
        let limits = Cgroup::create(&job.resources)?;
        let (limits, warnings) = limits.map_or((None, Vec::new()), |(group, warnings)| {
            (Some(group), warnings)
        });
        let control = match job.security {
            // A job that may write to a hierarchy could leave its group.
            JobSecurity::Sandbox if shows_groups(job)? => None,
            JobSecurity::Sandbox => {
                let numbers: Vec<_> = given.iter().map(|given| given.number).collect();
                let control = &context.device_control;
                control.put_on(limits.as_ref(), &numbers)
            }
            JobSecurity::Insecure => None,
        };
        let groups = Self {
            limits,
            control,
            security: job.security,
        };
        Ok((groups, warnings))
    }

    /// Says whether device nodes may work that kiln has not made.
    pub(super) fn other_nodes(&self) -> OtherNodes {
        match (&self.control, self.security) {
            (Some(_), _) | (None, JobSecurity::Insecure) => OtherNodes::Alive,
            (None, JobSecurity::Sandbox) => OtherNodes::Dead,
        }
    }

    /// Returns the files through which a new process enters version 1 groups.
    pub(super) fn procs_files(&self) -> Vec<BorrowedFd<'_>> {
        let limits = self.limits.as_ref().map_or(&[][..], Cgroup::procs_files);
        let control = self.control.as_ref().and_then(Controlled::procs_file);
        let limits = limits.iter().map(|procs| procs.as_fd());
        limits.chain(control).collect()
    }

    /// Returns the version 2 group into which a process is born.
    pub(super) fn directory(&self) -> Option<BorrowedFd<'_>> {
        let limits = self.limits.as_ref().and_then(Cgroup::directory);
        limits.or_else(|| self.control.as_ref().and_then(Controlled::directory))
    }

    /// Says whether there are any: a process has to be in them before they are the top of what it
    /// sees.
    pub(super) fn are_entered(&self) -> bool {
        self.limits.is_some() || self.control.is_some()
    }

    /// Returns those for limits.
    pub(super) fn limits(&self) -> Option<&Cgroup> {
        self.limits.as_ref()
    }

    /// Removes those for limits, which are empty now; says whether something in them was killed for
    /// want of memory.
    pub(super) fn remove_limits(&mut self) -> bool {
        self.limits.take().is_some_and(Cgroup::remove)
    }
}

/// Says whether a job may write to control groups of the host that it is shown.
fn shows_groups(job: &Job) -> Result<bool, ExecError> {
    for mount in &job.mounts {
        let MountSource::Bind { path, inside } = &mount.source else {
            continue;
        };
        if mount.access == MountAccess::ReadOnly {
            continue;
        }
        let opened = open_inside(mount, path, inside)?;
        let link = format!("/proc/self/fd/{}", opened.as_raw_fd());
        let found = rustix::fs::fstatfs(&opened).map(|about| about.f_type);
        let found = found.and_then(|kind| Ok((rustix::fs::readlink(link, Vec::new())?, kind)));
        let (place, kind) = found.map_err(ExecError::mount(&mount.target))?;
        let place = Path::new(OsStr::from_bytes(place.as_bytes()));
        if cgroup::shows_groups(place, kind) {
            return Ok(true);
        }
    }
    Ok(false)
}
