//! What a device changes about a job.

use std::path::{Path, PathBuf};

use kiln_files::GuestPath;

use super::name::DeviceName;
use super::spec::{CdiMount, EditsSpec, NodeSpec};
use crate::{DeviceKind, DeviceNumber, Job, JobDevice, JobMount, MountAccess, MountSource};

/// Changes to a job.
#[derive(Clone, Debug, Default)]
pub struct Edits {
    /// Variables; each replaces one of the same name.
    pub env: Vec<(String, String)>,
    /// Device nodes.
    pub devices: Vec<JobDevice>,
    /// Mounts.
    pub mounts: Vec<JobMount>,
    /// Supplementary groups of the process.
    pub groups: Vec<u32>,
}

/// A device asks for something that cannot be done.
#[derive(Debug, thiserror::Error)]
#[error("device {device}: {reason}")]
pub struct EditError {
    /// The device.
    pub device: String,
    /// What it asks for.
    pub reason: EditRefusal,
}

/// What cannot be done for a device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditRefusal {
    /// Programs of the host that are to run beside the job.
    #[error(
        "it wants the hook {0} to be run on this machine, which kiln does not do for any device"
    )]
    Hook(String),
    /// Network devices to move.
    #[error("it wants network devices to be moved into the sandbox, which kiln does not do")]
    NetworkDevices,
    /// Shares of caches and memory bandwidth.
    #[error("it wants Intel RDT to be set up, which kiln does not do")]
    IntelRdt,
    /// A variable without a value.
    #[error("{0:?} is not an environment variable with its value")]
    Variable(String),
    /// A path that is not absolute.
    #[error("{0:?} is not an absolute path")]
    Path(String),
    /// A kind of device that does not exist.
    #[error("unknown type {0:?} of a device node")]
    NodeType(String),
    /// A kind of mount that is not a bind mount.
    #[error("mounts of type {0:?} are not supported")]
    MountType(String),
    /// A mount option that is unknown or would have to change what others see.
    #[error("mount option {0:?} is not supported")]
    MountOption(String),
}

impl Edits {
    /// Adds what a file says about a device, or about all of its devices.
    pub(super) fn add(&mut self, device: &DeviceName, spec: &EditsSpec) -> Result<(), EditError> {
        self.read(spec).map_err(|reason| EditError {
            device: device.to_string(),
            reason,
        })
    }

    fn read(&mut self, spec: &EditsSpec) -> Result<(), EditRefusal> {
        if let Some(hook) = spec.hooks.first() {
            return Err(EditRefusal::Hook(hook.path.clone()));
        }
        if !spec.net_devices.is_empty() {
            return Err(EditRefusal::NetworkDevices);
        }
        if spec.intel_rdt.is_some() {
            return Err(EditRefusal::IntelRdt);
        }
        for variable in &spec.env {
            match variable.0.split_once('=') {
                Some((name, value)) if !name.is_empty() => {
                    self.env.push((name.to_owned(), value.to_owned()));
                }
                _ => return Err(EditRefusal::Variable(variable.0.clone())),
            }
        }
        for node in &spec.device_nodes {
            self.devices.push(device(node)?);
        }
        for mount in &spec.mounts {
            self.mounts.push(bind(mount)?);
        }
        // Group 0 stands for "none"; the reference implementation leaves it out too.
        let groups = spec.additional_gids.iter().copied().filter(|&id| id != 0);
        self.groups.extend(groups);
        Ok(())
    }

    /// Changes a job. What is already at a device's or mount's place is replaced.
    pub fn apply(&self, job: &mut Job) {
        for (name, value) in &self.env {
            let known = job.process.env.iter_mut().find(|(known, _)| known == name);
            match known {
                Some((_, known)) => known.clone_from(value),
                None => job.process.env.push((name.clone(), value.clone())),
            }
        }
        for device in &self.devices {
            let mut device = device.clone();
            // A device belongs to the user of the process (CDI: pkg/cdi/container-edits.go).
            let user = &job.process.user;
            let or_own = |id: Option<u32>, own: u32| id.or(Some(own).filter(|&id| id != 0));
            device.uid = or_own(device.uid, user.uid);
            device.gid = or_own(device.gid, user.gid);
            job.devices.retain(|known| known.target != device.target);
            job.devices.push(device);
        }
        job.mounts.extend(self.mounts.iter().cloned());
        for group in &self.groups {
            if !job.process.user.groups.contains(group) {
                job.process.user.groups.push(*group);
            }
        }
    }
}

fn absolute(path: &str) -> Result<&str, EditRefusal> {
    if path.starts_with('/') && !GuestPath::new(path).is_root() {
        Ok(path)
    } else {
        Err(EditRefusal::Path(path.to_owned()))
    }
}

fn device(node: &NodeSpec) -> Result<JobDevice, EditRefusal> {
    let target = absolute(&node.path)?;
    let host = match node.host_path.as_deref() {
        None | Some("") => target,
        Some(host) => absolute(host)?,
    };
    let kind = match node.kind.as_deref() {
        None | Some("") => None,
        Some("b") => Some(DeviceKind::Block),
        Some("c" | "u") => Some(DeviceKind::Character),
        Some(other) => return Err(EditRefusal::NodeType(other.to_owned())),
    };
    // Without a number, or with 0, the host's node says which device it is.
    let number = kind.filter(|_| node.major != 0).map(|kind| DeviceNumber {
        kind,
        major: node.major,
        minor: node.minor,
    });
    Ok(JobDevice {
        number,
        mode: node.file_mode.map(|mode| mode & 0o7777),
        uid: node.uid,
        gid: node.gid,
        ..JobDevice::new(GuestPath::new(target), PathBuf::from(host))
    })
}

fn bind(mount: &CdiMount) -> Result<JobMount, EditRefusal> {
    let mut access = MountAccess::ReadWrite;
    match mount.kind.as_deref() {
        None | Some("" | "bind" | "none") => {}
        Some(other) => return Err(EditRefusal::MountType(other.to_owned())),
    }
    for option in &mount.options {
        match option.as_str() {
            "ro" => access = MountAccess::ReadOnly,
            "rw" => access = MountAccess::ReadWrite,
            // Every mount is recursive and private here. The other options would take rights from a
            // process that no sandbox gives: none that a program of the host or a device node could
            // use outside.
            "bind" | "rbind" | "private" | "rprivate" | "slave" | "rslave" | "nosuid" | "nodev"
            | "noexec" | "suid" | "dev" | "exec" | "relatime" | "noatime" => {}
            other => return Err(EditRefusal::MountOption(other.to_owned())),
        }
    }
    Ok(JobMount {
        target: GuestPath::new(absolute(&mount.container_path)?),
        source: MountSource::Bind {
            path: Path::new(absolute(&mount.host_path)?).to_owned(),
            inside: GuestPath::ROOT,
        },
        access,
    })
}
