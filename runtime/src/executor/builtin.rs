//! What every sandbox has beside its root: `/proc`, `/dev`, `/sys` and a few files in `/etc`.

use std::ffi::CString;
use std::os::fd::OwnedFd;

use kiln_files::GuestPath;
use rustix::io::Errno;

use super::context::{ExecutorContext, Mask, read_only_proc};
use super::detached::{clone_tree, restrict};
use super::devices::{self, Devices};
use super::nodes::OtherNodes;
use super::stubs::Stubs;
use crate::sys::{Fresh, MountStep, PlaceKind, PlacePath};
use crate::{EtcFile, ExecError, Job, JobNetwork, JobSecurity, MountAccess};

/// Mount steps, what each is for, and the root they go into.
pub(super) struct Steps {
    pub(super) steps: Vec<MountStep>,
    pub(super) targets: Vec<GuestPath>,
    pub(super) stubs: Stubs,
}

impl Steps {
    pub(super) fn new(stubs: Stubs) -> Self {
        Self {
            steps: Vec::new(),
            targets: Vec::new(),
            stubs,
        }
    }

    /// Finds the place of a mount. A mount point that is missing is there for the run only.
    pub(super) fn place(
        &mut self,
        path: &GuestPath,
        leaf: PlaceKind,
    ) -> Result<PlacePath, ExecError> {
        if path.is_root() {
            return Err(ExecError::MountOnRoot);
        }
        let provided = self
            .stubs
            .provide(path, leaf)
            .map_err(ExecError::mount(path))?;
        // A link may have led to the root itself.
        PlacePath::new(&provided, leaf).ok_or(ExecError::MountOnRoot)
    }

    /// Names the place of a mount whose mount point belongs to the result.
    fn keep(&mut self, path: &str) -> (PlacePath, GuestPath) {
        let path = GuestPath::new(path);
        self.stubs.is_mounted(&path);
        let target =
            PlacePath::new(&path, PlaceKind::Directory).expect("our own paths are not the root");
        (target, path)
    }

    pub(super) fn push(&mut self, target: &GuestPath, step: MountStep) {
        self.steps.push(step);
        self.targets.push(target.clone());
    }
}

/// Adds what every sandbox has; returns its terminals.
pub(super) fn add_builtin_mounts(
    context: &ExecutorContext,
    job: &Job,
    others: OtherNodes,
    steps: &mut Steps,
) -> Result<OwnedFd, ExecError> {
    let sandbox = job.security == JobSecurity::Sandbox;
    // These directories belong to the result if the runtime had to make them
    // (docs/spec/dockerfile.md 10).
    let (proc, proc_path) = steps.keep("proc");
    let (dev, dev_path) = steps.keep("dev");
    let (sys, sys_path) = steps.keep("sys");

    let (masks, read_only) = if sandbox {
        (masks(context, &context.masked_proc)?, read_only_proc())
    } else {
        (Vec::new(), Vec::new())
    };
    steps.push(
        &proc_path,
        MountStep::Fresh {
            kind: Fresh::Proc(job.outer_proc),
            target: proc,
            masks,
            read_only,
        },
    );

    let devices = devices::devices(context, job, others)
        .map_err(ExecError::prepare("making the devices of /dev"))?;
    let base = steps.steps.len();
    steps.push(
        &dev_path,
        MountStep::Attach {
            mount: devices.top,
            target: dev,
        },
    );
    Devices::append_below(devices.below, base, &mut steps.steps);
    steps.targets.resize(steps.steps.len(), dev_path);

    let sysfs = sysfs(context, job, sys)?;
    steps.push(&sys_path, sysfs);
    if crate::cgroup::is_unified() {
        let (cgroup, path) = steps.keep("sys/fs/cgroup");
        steps.push(
            &path,
            MountStep::Fresh {
                kind: Fresh::Cgroup2(match job.security {
                    JobSecurity::Sandbox => MountAccess::ReadOnly,
                    JobSecurity::Insecure => MountAccess::ReadWrite,
                }),
                target: cgroup,
                masks: Vec::new(),
                read_only: Vec::new(),
            },
        );
    }
    for (name, file) in [
        ("etc/resolv.conf", &job.resolv_conf),
        ("etc/hosts", &job.hosts),
        ("etc/hostname", &job.hostname_file),
    ] {
        if let Some(mount) = etc_file(context, file)? {
            let path = GuestPath::new(name);
            let target = steps.place(&path, PlaceKind::File)?;
            steps.push(&path, MountStep::Attach { mount, target });
        }
    }
    Ok(devices.terminals)
}

/// Returns the masks that hide names, each with the name.
fn masks(context: &ExecutorContext, hidden: &[Mask]) -> Result<Vec<(OwnedFd, CString)>, ExecError> {
    let mask = |hidden: &Mask| {
        let mask = context.mask(hidden);
        let name = CString::new(hidden.name.as_str()).expect("our own names");
        Ok((mask.map_err(ExecError::prepare("masking"))?, name))
    };
    hidden.iter().map(mask).collect()
}

/// Returns the step that mounts `/sys`.
fn sysfs(context: &ExecutorContext, job: &Job, target: PlacePath) -> Result<MountStep, ExecError> {
    let (access, masks) = match (job.security, job.network) {
        // What kiln's own network namespace shows is the same for all jobs.
        (JobSecurity::Sandbox, JobNetwork::Host) => {
            let mount = context.sys().map_err(ExecError::prepare("cloning /sys"))?;
            return Ok(MountStep::Attach { mount, target });
        }
        (JobSecurity::Sandbox, JobNetwork::None) => {
            (MountAccess::ReadOnly, masks(context, &context.masked_sys)?)
        }
        (JobSecurity::Insecure, _) => (MountAccess::ReadWrite, Vec::new()),
    };
    Ok(MountStep::Fresh {
        kind: Fresh::Sysfs(access),
        target,
        masks,
        read_only: Vec::new(),
    })
}

fn etc_file(context: &ExecutorContext, file: &EtcFile) -> Result<Option<OwnedFd>, ExecError> {
    let (path, access) = match file {
        EtcFile::Untouched => return Ok(None),
        EtcFile::Text(text) => (context.text(text)?, MountAccess::ReadOnly),
        EtcFile::File { path, access } => (path.clone(), *access),
    };
    let mount = match clone_tree(&path) {
        Err(Errno::NOENT) => return Ok(None),
        other => other,
    };
    mount
        .and_then(|mount| restrict(mount, access))
        .map(Some)
        .map_err(|errno| ExecError::MountSource {
            path,
            source: errno.into(),
        })
}
