//! Everything a new process has to know, prepared by its parent.

use std::ffi::CString;
use std::os::fd::{BorrowedFd, OwnedFd};

use kiln_files::GuestPath;
use libc::sock_filter;
use rustix::process::{Resource, Rlimit};
use rustix::thread::{CapabilitySet, Gid, Uid};

use super::exec::{ProgramArguments, Strings};
use crate::{MountAccess, OuterProc};

/// What a new process does before it becomes the user's program.
#[derive(Debug)]
pub(crate) struct ProcessSetup<'a> {
    /// Where to send [`super::report::Record`]s.
    pub(crate) report: BorrowedFd<'a>,
    /// The launcher, a file that no process can write to.
    pub(crate) launcher: BorrowedFd<'a>,
    /// A descriptor of the parent's `/proc`.
    pub(crate) proc: BorrowedFd<'a>,
    /// Standard input, output and error.
    pub(crate) streams: [BorrowedFd<'a>; 3],
    /// Whether those are a terminal to take as one's own.
    pub(crate) controlling_terminal: bool,
    /// Files that take a process id, one for each control group to enter.
    pub(crate) cgroups: &'a [BorrowedFd<'a>],
    /// Whether to leave the parent's control group namespace after entering the groups.
    pub(crate) unshare_cgroup: bool,
    /// The root file system: a detached mount.
    pub(crate) root: BorrowedFd<'a>,
    /// Mounts, outer ones before inner ones.
    pub(crate) mounts: &'a [MountStep],
    /// The host's name.
    pub(crate) hostname: &'a [u8],
    /// Whether to start the loopback device of a new network namespace.
    pub(crate) loopback: bool,
    /// Whether to wait for a byte on the socket for records before anything of the image is touched.
    pub(crate) waits_for_go: bool,
    /// Resource limits.
    pub(crate) limits: &'a [(Resource, Rlimit)],
    /// The working directory; none for the root.
    pub(crate) cwd: Option<&'a PlacePath>,
    /// Capabilities to remove from the bounding set.
    pub(crate) forbidden: &'a [CapabilitySet],
    /// The system call filter.
    pub(crate) filter: Option<&'a [sock_filter]>,
    /// Who to become.
    pub(crate) identity: &'a ProcessIds,
    /// Capabilities to keep if the user is root.
    pub(crate) capabilities: CapabilitySet,
    /// Paths to try as the program, in order.
    pub(crate) candidates: &'a Strings,
    /// Arguments.
    pub(crate) arguments: &'a ProgramArguments,
    /// Environment.
    pub(crate) env: &'a Strings,
}

/// Ids of a new process.
#[derive(Debug)]
pub(crate) struct ProcessIds {
    pub(crate) uid: Uid,
    pub(crate) gid: Gid,
    /// None where the user namespace forbids setting groups.
    pub(crate) groups: Option<Vec<Gid>>,
}

/// A place in the root.
#[derive(Debug)]
pub(crate) struct PlacePath {
    /// Every prefix of the path, the shortest first; never empty.
    pub(super) prefixes: Vec<CString>,
    /// The components.
    pub(super) names: Vec<CString>,
    /// What to create if there is nothing.
    pub(super) leaf: PlaceKind,
}

/// What to create where a mount's target is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlaceKind {
    File,
    Directory,
}

impl PlacePath {
    /// Returns none for the root itself, which cannot be mounted over.
    pub(crate) fn new(path: &GuestPath, leaf: PlaceKind) -> Option<Self> {
        let text = |bytes: &[u8]| CString::new(bytes).ok();
        let names = path.components().map(text).collect::<Option<Vec<_>>>()?;
        let mut prefixes: Vec<CString> = path
            .ancestors()
            .iter()
            .map(|p| text(p.as_bytes()))
            .collect::<Option<_>>()?;
        if names.is_empty() {
            return None;
        }
        prefixes.push(text(path.as_bytes())?);
        Some(Self {
            prefixes,
            names,
            leaf,
        })
    }
}

/// One mount to make.
#[derive(Debug)]
pub(crate) enum MountStep {
    /// Moves a detached mount to a place in the root.
    Attach { mount: OwnedFd, target: PlacePath },
    /// Moves a detached mount onto a name below the mount of an earlier [`MountStep::Attach`].
    Beneath {
        mount: OwnedFd,
        base: usize,
        name: CString,
    },
    /// Shows a part of a detached mount.
    Part {
        whole: OwnedFd,
        /// A directory of the old root where the whole is attached meanwhile.
        staging: CString,
        /// Resolved inside the whole.
        part: CString,
        read_only: bool,
        target: PlacePath,
    },
    /// Makes a file system that belongs to the new process's own namespaces.
    Fresh {
        kind: Fresh,
        target: PlacePath,
        /// Detached mounts that hide names below it; missing names do not matter.
        masks: Vec<(OwnedFd, CString)>,
        /// Names below it that become read-only; missing names do not matter.
        read_only: Vec<CString>,
    },
    /// Makes the message queue file system at a name below an earlier [`MountStep::Attach`].
    Queue { base: usize, name: CString },
}

/// File systems whose contents depend on who makes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fresh {
    /// Processes.
    Proc(OuterProc),
    /// Devices and the kernel's settings; the old root's `/sys` as a second choice.
    Sysfs(MountAccess),
    /// The control group the process is in; left out if refused.
    Cgroup2(MountAccess),
}
