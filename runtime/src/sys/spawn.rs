//! Making the process of a sandbox.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use super::child;
use super::fork::Spawned;
use super::keeper::Keeper;
use super::program::ProcessSetup;

/// Namespaces of a new process beside those it always gets.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Namespaces {
    pub(crate) network: bool,
    pub(crate) cgroup: bool,
}

/// Starts `program` in new process, mount, IPC and host name namespaces.
///
/// With `cgroup`, it is born in that group of the version 2 hierarchy. It ends with `keeper`.
pub(crate) fn spawn(
    program: &ProcessSetup<'_>,
    namespaces: Namespaces,
    cgroup: Option<BorrowedFd<'_>>,
    keeper: &Keeper,
) -> Result<Spawned, Errno> {
    let mut flags =
        libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    if namespaces.network {
        flags |= libc::CLONE_NEWNET;
    }
    if namespaces.cgroup {
        flags |= libc::CLONE_NEWCGROUP;
    }
    keeper.below(flags, cgroup, || child::run(program))
}
