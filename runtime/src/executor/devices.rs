//! `/dev`: a file system in memory that changes with the job, and devices bound into it.
//!
//! Devices are the host's, bound one by one, since a user namespace may not make any; and because
//! a bound device works although the file system around it is mounted `nodev`, a job that makes a
//! device node of its own, which root may, cannot use it.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::surroundings::{PLAIN, Surroundings, clone_tree, new_mount};
use crate::sys::MountStep;
use crate::{Job, Security};

/// The devices every sandbox has (runtime-spec, config-linux.md, "Default Devices").
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Further devices that a trusted job gets if the host has them.
const TRUSTED_DEVICES: [&str; 5] = ["fuse", "kvm", "net/tun", "loop-control", "mapper/control"];

const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
];

/// What is mounted at `/dev` and below.
pub(super) struct Devices {
    /// The file system of `/dev` itself.
    pub(super) top: OwnedFd,
    /// What is mounted below it, by name.
    pub(super) below: Vec<(OwnedFd, CString)>,
    /// The terminals; also among `below`.
    pub(super) terminals: OwnedFd,
}

/// Makes the devices of a job.
pub(super) fn devices(surroundings: &Surroundings, job: &Job) -> Result<Devices, Errno> {
    let top = new_mount(
        "tmpfs",
        &[("mode", "0755"), ("size", "65536k")],
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV,
    )?;
    for name in ["pts", "shm", "mqueue"] {
        rustix::fs::mkdirat(&top, name, Mode::from_raw_mode(0o755))?;
    }
    for (target, name) in LINKS {
        rustix::fs::symlinkat(target, &top, name)?;
    }
    let mut below = Vec::new();
    for name in DEVICES {
        below.push(bind(&top, name)?);
    }
    if job.security == Security::Insecure {
        for name in TRUSTED_DEVICES {
            if Path::new("/dev").join(name).exists() {
                below.push(bind(&top, name)?);
            }
        }
    }
    let mut options = vec![("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620")];
    // Group "tty" of every distribution.
    if surroundings.ids.has_group(5) {
        options.push(("gid", "5"));
    }
    let terminals = new_mount(
        "devpts",
        &options,
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC,
    )?;
    let size = job.shm_size_bytes.to_string();
    let shm = new_mount("tmpfs", &[("mode", "1777"), ("size", &size)], PLAIN)?;
    below.push((
        rustix::io::fcntl_dupfd_cloexec(&terminals, 0)?,
        c"pts".to_owned(),
    ));
    below.push((shm, c"shm".to_owned()));
    Ok(Devices {
        top,
        below,
        terminals,
    })
}

/// Clones a device of the host and makes the file it goes onto.
fn bind(top: &OwnedFd, name: &str) -> Result<(OwnedFd, CString), Errno> {
    if let Some((directory, _)) = name.rsplit_once('/') {
        rustix::fs::mkdirat(top, directory, Mode::from_raw_mode(0o755))?;
        // The caller's umask took part in the mode.
        rustix::fs::chmodat(top, directory, Mode::from_raw_mode(0o755), AtFlags::empty())?;
    }
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    rustix::fs::openat(top, name, flags, Mode::from_raw_mode(0o666))?;
    let device = clone_tree(&Path::new("/dev").join(name))?;
    let name = CString::new(name).map_err(|_| Errno::INVAL)?;
    Ok((device, name))
}

impl Devices {
    /// Appends the steps that mount everything below the mount of step `base`.
    pub(super) fn append_below(
        below: Vec<(OwnedFd, CString)>,
        base: usize,
        steps: &mut Vec<MountStep>,
    ) {
        steps.extend(below.into_iter().map(|(mount, name)| MountStep::Beneath {
            mount,
            base,
            name,
        }));
        steps.push(MountStep::Queue {
            base,
            name: c"mqueue".to_owned(),
        });
    }
}
