//! `/dev`: a file system in memory that changes with the job, and devices bound into it.
//!
//! Where the kernel lets kiln make nodes, the job has its own, which it may change and remove. Each
//! is bound on itself, for `/dev` as a whole is mounted `nodev` where no rules say which devices a
//! job may use: if it makes a node of some other device, which root may, it cannot use that. In a
//! user namespace the kernel makes none, so the host's are bound there, read-only: the job can
//! still write to the device, but no job changes the mode, owner or time of a node that the host
//! uses.

use std::ffi::{CString, OsString};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::context::ExecutorContext;
use super::detached::{PLAIN, clone_tree, new_mount};
use super::file_mounts::{clone_each, clone_files};
use super::nodes::OtherNodes;
use crate::sys::{self, MountStep};
use crate::{Job, JobSecurity};

/// The devices every sandbox has (runtime-spec, config-linux.md, "Default Devices").
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Their numbers, in the same order (Linux: Documentation/admin-guide/devices.txt).
const NUMBERS: [(u32, u32); 6] = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0)];

/// Further devices that a trusted job gets if the host has them
/// (buildkit: util/entitlements/security/security_linux.go, and the device mapper).
const TRUSTED_DEVICES: [&str; 7] = [
    "kmsg",
    "cuse",
    "fuse",
    "kvm",
    "net/tun",
    "loop-control",
    "mapper/control",
];

/// Block devices with this number are loop devices (Linux: Documentation/admin-guide/devices.txt).
const LOOP_MAJOR: u32 = 7;

/// How many loop devices a trusted job finds beyond those of the host; what BuildKit gives.
const SPARE_LOOPS: u32 = 8;

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
pub(super) fn devices(
    context: &ExecutorContext,
    job: &Job,
    others: OtherNodes,
) -> Result<Devices, Errno> {
    let options = [("mode", "0755"), ("size", "65536k")];
    let top = new_mount("tmpfs", &options, MountAttrFlags::MOUNT_ATTR_NOSUID)?;
    for name in ["pts", "shm", "mqueue"] {
        rustix::fs::mkdirat(&top, name, Mode::from_raw_mode(0o755))?;
    }
    for (target, name) in LINKS {
        rustix::fs::symlinkat(target, &top, name)?;
    }
    let mut below = Vec::new();
    match own_nodes(context, &top)? {
        Some(nodes) => {
            let names = DEVICES.into_iter().map(CString::new);
            for (name, node) in names.zip(nodes) {
                below.push((node, name.map_err(|_| Errno::INVAL)?));
            }
        }
        None => {
            for name in DEVICES {
                below.push((host_node(name)?, place(&top, name)?));
            }
        }
    }
    // The clones, which show one node each, stay as they are.
    sys::mount_setattr(&top, false, others.attributes(), 0)?;
    if job.security == JobSecurity::Insecure {
        for name in TRUSTED_DEVICES {
            if Path::new("/dev").join(name).exists() {
                below.push((host_node(name)?, place(&top, name)?));
            }
        }
        add_loop_devices(&top)?;
    }
    let mut options = vec![("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620")];
    // Group "tty" of every distribution.
    if context.ids.has_group(5) {
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

/// Makes loop devices: the kernel gives them a meaning when `/dev/loop-control` is asked for one,
/// but no device node appears outside the host's own `/dev`.
fn add_loop_devices(top: &OwnedFd) -> Result<(), Errno> {
    let entries = std::fs::read_dir("/dev").into_iter().flatten().flatten();
    let known = count_loops(entries.map(|entry| entry.file_name()));
    for number in 0..known + SPARE_LOOPS {
        let name = format!("loop{number}");
        let device = rustix::fs::makedev(LOOP_MAJOR, number);
        let mode = Mode::from_raw_mode(0o666);
        match rustix::fs::mknodat(top, name.as_str(), FileType::BlockDevice, mode, device) {
            // A user namespace may not make any, nor could it use them.
            Err(Errno::PERM) => return Ok(()),
            other => other?,
        }
        // The caller's umask took part in the mode.
        rustix::fs::chmodat(top, name.as_str(), mode, AtFlags::empty())?;
    }
    Ok(())
}

/// Makes nodes of what every sandbox has in `/dev` and returns a mount of each, in the order of
/// [`DEVICES`]; none where that is not permitted.
fn own_nodes(context: &ExecutorContext, top: &OwnedFd) -> Result<Option<Vec<OwnedFd>>, Errno> {
    if !make_nodes(top)? {
        return Ok(None);
    }
    let names = DEVICES.map(str::to_owned);
    match clone_each(top, &names) {
        // Kernels before 6.15 clone only what is attached, and what was is no longer detached.
        Err(Errno::INVAL) => {
            let options = [("mode", "0755"), ("size", "64k")];
            let apart = new_mount("tmpfs", &options, MountAttrFlags::MOUNT_ATTR_NOSUID)?;
            make_nodes(&apart)?;
            clone_files(context, &apart, &names)
        }
        other => other,
    }
    .map(Some)
}

/// Makes the nodes; says whether that is permitted.
fn make_nodes(directory: &OwnedFd) -> Result<bool, Errno> {
    for (name, (major, minor)) in DEVICES.into_iter().zip(NUMBERS) {
        let device = rustix::fs::makedev(major, minor);
        let mode = Mode::from_raw_mode(0o666);
        match rustix::fs::mknodat(directory, name, FileType::CharacterDevice, mode, device) {
            Err(Errno::PERM) => return Ok(false),
            other => other?,
        }
        // The caller's umask took part in the mode.
        rustix::fs::chmodat(directory, name, mode, AtFlags::empty())?;
    }
    Ok(true)
}

/// Returns the number behind that of the last loop device among names of devices.
fn count_loops(names: impl Iterator<Item = OsString>) -> u32 {
    let number = |name: OsString| name.to_str()?.strip_prefix("loop")?.parse::<u32>().ok();
    names.filter_map(number).map(|n| n + 1).max().unwrap_or(0)
}

/// Clones a node of the host.
fn host_node(name: &str) -> Result<OwnedFd, Errno> {
    let node = clone_tree(&Path::new("/dev").join(name))?;
    sys::mount_setattr(&node, true, MountAttrFlags::MOUNT_ATTR_RDONLY, 0)?;
    Ok(node)
}

/// Makes the file that a node is mounted on.
fn place(top: &OwnedFd, name: &str) -> Result<CString, Errno> {
    if let Some((directory, _)) = name.rsplit_once('/') {
        rustix::fs::mkdirat(top, directory, Mode::from_raw_mode(0o755))?;
        // The caller's umask took part in the mode.
        rustix::fs::chmodat(top, directory, Mode::from_raw_mode(0o755), AtFlags::empty())?;
    }
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    rustix::fs::openat(top, name, flags, Mode::from_raw_mode(0o666))?;
    CString::new(name).map_err(|_| Errno::INVAL)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loop_devices_are_counted_up_to_the_last_one() {
        let count = |names: &[&str]| count_loops(names.iter().map(OsString::from));
        assert_eq!(count(&[]), 0);
        assert_eq!(count(&["null", "loop-control", "loops"]), 0);
        assert_eq!(count(&["loop0"]), 1);
        assert_eq!(count(&["loop2", "loop11", "loop5"]), 12);
    }
}
