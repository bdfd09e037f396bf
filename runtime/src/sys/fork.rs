//! Making a process.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions};

use super::{Program, child, raw};

/// A process that was made here. Dropping it before its end was seen kills it.
#[derive(Debug)]
pub(crate) struct Spawned {
    /// Its id in the caller's namespace.
    pub(crate) pid: u32,
    /// Becomes readable when it ends.
    pub(crate) pidfd: OwnedFd,
    is_reaped: bool,
}

/// A wait status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It returned a code.
    Exited(u8),
    /// A signal ended it.
    Killed(i32),
}

impl Spawned {
    /// Kills it, and with it all processes of its namespace.
    pub(crate) fn kill(&self) {
        // Fails only if it is dead already.
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    /// Waits for its end.
    pub(crate) fn reap(&mut self) -> Result<Ending, Errno> {
        let status = rustix::io::retry_on_intr(|| {
            rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED)
        })?;
        self.is_reaped = true;
        let status = status.ok_or(Errno::CHILD)?;
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Ok(Ending::Exited(
                u8::try_from(code & 0xff).expect("eight bits are left"),
            )),
            (None, Some(signal)) => Ok(Ending::Killed(signal)),
            (None, None) => Err(Errno::CHILD),
        }
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        if !self.is_reaped {
            self.kill();
            let _ = self.reap();
        }
    }
}

/// Namespaces of a new process beside those it always gets.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Namespaces {
    pub(crate) network: bool,
    pub(crate) cgroup: bool,
}

/// Starts `program` in new process, mount, IPC and host name namespaces.
///
/// With `cgroup`, it is born in that group of the version 2 hierarchy.
pub(crate) fn spawn(
    program: &Program<'_>,
    namespaces: Namespaces,
    cgroup: Option<BorrowedFd<'_>>,
) -> Result<Spawned, Errno> {
    let mut flags =
        libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    if namespaces.network {
        flags |= libc::CLONE_NEWNET;
    }
    if namespaces.cgroup {
        flags |= libc::CLONE_NEWCGROUP;
    }
    let (pid, pidfd) = clone_and(flags, cgroup, || child::run(program))?;
    Ok(Spawned {
        pid,
        pidfd,
        is_reaped: false,
    })
}

/// Clones the process and runs `child` in the copy.
///
/// Signals stay blocked until the child unblocks them: a handler of ours must not run in it.
pub(super) fn clone_and(
    flags: i32,
    cgroup: Option<BorrowedFd<'_>>,
    child: impl FnOnce(),
) -> Result<(u32, OwnedFd), Errno> {
    let mask = raw::swap_signal_mask(u64::MAX);
    // SAFETY: the closures passed in this module make system calls only, and the copy ends after them.
    let cloned = match unsafe { raw::clone_process(flags, cgroup) } {
        Ok(None) => {
            child();
            raw::exit(255)
        }
        Ok(Some(process)) => Ok(process),
        Err(error) => Err(error),
    };
    raw::swap_signal_mask(mask);
    cloned
}
