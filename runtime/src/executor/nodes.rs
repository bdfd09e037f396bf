//! Device nodes: those a job was given, bound from the host or made, and whether others work.

use std::os::fd::{AsFd as _, OwnedFd};

use kiln_files::GuestPath;
use rustix::fs::{AtFlags, FileType, Gid, Mode, Stat, Uid};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::context::ExecutorContext;
use super::detached::{clone_tree, new_mount};
use super::file_mounts::clone_files;
use crate::{DeviceKind, DeviceNumber, ExecError, Job, JobDevice, sys};

/// Whether device nodes work that a job makes, or finds in an image or a directory of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OtherNodes {
    /// None works: nothing else would keep the job from the disks of the host.
    Dead,
    /// Those work that the rules of its control group allow; all, if there are no rules.
    Alive,
}

impl OtherNodes {
    /// Returns what a file system is mounted with that may hold some.
    pub(super) fn attributes(self) -> MountAttrFlags {
        match self {
            Self::Dead => MountAttrFlags::MOUNT_ATTR_NODEV,
            Self::Alive => MountAttrFlags::empty(),
        }
    }
}

/// A device that a job is given.
pub(super) struct Given<'a> {
    device: &'a JobDevice,
    pub(super) number: DeviceNumber,
    /// The host's node, if there is one.
    host: Option<(DeviceNumber, Stat)>,
}

/// Finds out which devices a job is given.
pub(super) fn given_devices(job: &Job) -> Result<Vec<Given<'_>>, ExecError> {
    let look = |device| {
        let host = host_node(device).map_err(failed(device))?;
        let number = device.number.or(host.map(|(number, _)| number));
        Ok(Given {
            device,
            number: number.ok_or_else(|| failed(device)(Errno::NODEV))?,
            host,
        })
    };
    job.devices.iter().map(look).collect()
}

fn failed(device: &JobDevice) -> impl Fn(Errno) -> ExecError {
    |errno| ExecError::Device {
        target: device.target.clone(),
        host: device.host.clone(),
        source: errno.into(),
    }
}

/// Returns a detached mount for each device, in order.
pub(super) fn device_mounts<'a>(
    context: &ExecutorContext,
    given: &[Given<'a>],
) -> Result<Vec<(&'a GuestPath, OwnedFd)>, ExecError> {
    let mut nodes = None;
    let mut names = Vec::new();
    let mut mounts = Vec::new();
    for &Given {
        device,
        number,
        host,
    } in given
    {
        let failed = failed(device);
        check_ids(context, device)?;
        if !is_as_wished(device, number, host) {
            let nodes = match &nodes {
                Some(nodes) => nodes,
                None => {
                    let options = [("mode", "0700"), ("size", "1m")];
                    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID;
                    nodes.insert(new_mount("tmpfs", &options, attributes).map_err(&failed)?)
                }
            };
            let name = names.len().to_string();
            match make_node(nodes, &name, device, number) {
                Ok(()) => {
                    names.push(name);
                    mounts.push((&device.target, None));
                    continue;
                }
                // What the kernel answers to all users but real root.
                Err(Errno::PERM) if host.is_some_and(|(host, _)| host == number) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
        let mount = clone_tree(&device.host).map_err(&failed)?;
        // The process may write to the device, but not change the host's node.
        sys::mount_setattr(&mount, true, MountAttrFlags::MOUNT_ATTR_RDONLY, 0).map_err(failed)?;
        mounts.push((&device.target, Some(mount)));
    }
    let made = match &nodes {
        Some(nodes) => {
            clone_files(context, nodes, &names).map_err(ExecError::prepare("mounting devices"))?
        }
        None => Vec::new(),
    };
    let mut made = made.into_iter();
    let all = mounts.into_iter().map(|(target, mount)| {
        let mount = mount.or_else(|| made.next());
        (target, mount.expect("a node was made where none was bound"))
    });
    Ok(all.collect())
}

/// Looks at the host's node; none if there is none, which does not matter if the number is known.
fn host_node(device: &JobDevice) -> Result<Option<(DeviceNumber, Stat)>, Errno> {
    let stat = match rustix::fs::stat(&device.host) {
        Err(Errno::NOENT) if device.number.is_some() => return Ok(None),
        other => other?,
    };
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::BlockDevice => DeviceKind::Block,
        FileType::CharacterDevice => DeviceKind::Character,
        _ => return Err(Errno::NODEV),
    };
    let number = DeviceNumber {
        kind,
        major: rustix::fs::major(stat.st_rdev),
        minor: rustix::fs::minor(stat.st_rdev),
    };
    Ok(Some((number, stat)))
}

fn check_ids(context: &ExecutorContext, device: &JobDevice) -> Result<(), ExecError> {
    let unmapped = |kind, id| Err(ExecError::UnmappedId { kind, id });
    match (device.uid, device.gid) {
        (Some(id), _) if !context.ids.has_user(id) => unmapped("user", id),
        (_, Some(id)) if !context.ids.has_group(id) => unmapped("group", id),
        _ => Ok(()),
    }
}

fn is_as_wished(
    device: &JobDevice,
    number: DeviceNumber,
    host: Option<(DeviceNumber, Stat)>,
) -> bool {
    let Some((host, stat)) = host else {
        return false;
    };
    host == number
        && device.mode.is_none_or(|mode| stat.st_mode & 0o7777 == mode)
        && device.uid.is_none_or(|uid| stat.st_uid == uid)
        && device.gid.is_none_or(|gid| stat.st_gid == gid)
}

fn make_node(
    nodes: &OwnedFd,
    name: &str,
    device: &JobDevice,
    number: DeviceNumber,
) -> Result<(), Errno> {
    let kind = match number.kind {
        DeviceKind::Block => FileType::BlockDevice,
        DeviceKind::Character => FileType::CharacterDevice,
    };
    // runc's default (libcontainer/specconv/spec_linux.go, createDevices).
    let mode = Mode::from_raw_mode(device.mode.unwrap_or(0o666));
    let id = rustix::fs::makedev(number.major, number.minor);
    rustix::fs::mknodat(nodes.as_fd(), name, kind, mode, id)?;
    rustix::fs::chownat(
        nodes,
        name,
        Some(Uid::from_raw(device.uid.unwrap_or(0))),
        Some(Gid::from_raw(device.gid.unwrap_or(0))),
        AtFlags::SYMLINK_NOFOLLOW,
    )?;
    // This process's umask took part in the mode.
    rustix::fs::chmodat(nodes, name, mode, AtFlags::empty())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use kiln_files::GuestPath;

    use super::*;

    #[test]
    fn a_node_of_the_host_serves_only_with_number_mode_and_owner_as_wished() {
        let stat = rustix::fs::stat("/dev/null").unwrap();
        let number = DeviceNumber {
            kind: DeviceKind::Character,
            major: 1,
            minor: 3,
        };
        let (mode, uid, gid) = (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid);
        let wished = |mode, uid, gid| JobDevice {
            mode,
            uid,
            gid,
            ..JobDevice::new(GuestPath::new("/dev/null"), PathBuf::from("/dev/null"))
        };
        let any = wished(None, None, None);
        let host = Some((number, stat));
        assert!(!is_as_wished(&any, number, None));
        let other = DeviceNumber { minor: 5, ..number };
        assert!(!is_as_wished(&any, other, host));
        for (device, expected) in [
            (any, true),
            (wished(Some(mode), Some(uid), Some(gid)), true),
            (wished(Some(mode ^ 1), Some(uid), Some(gid)), false),
            (wished(Some(mode), Some(uid + 1), Some(gid)), false),
            (wished(Some(mode), Some(uid), Some(gid + 1)), false),
            (wished(None, Some(uid + 1), None), false),
        ] {
            assert_eq!(is_as_wished(&device, number, host), expected, "{device:?}");
        }
    }
}
