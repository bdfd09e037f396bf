//! Making a process.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use super::raw;

/// A process that was made here. Dropping it before its end was seen kills it.
#[derive(Debug)]
pub(crate) struct Spawned {
    /// Becomes readable when it ends.
    pub(crate) pidfd: OwnedFd,
    is_reaped: bool,
}

/// A wait status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitStatus {
    /// It returned a code.
    Exited(u8),
    /// A signal ended it.
    Killed(i32),
}

impl Spawned {
    pub(super) fn new(pidfd: OwnedFd) -> Self {
        Self {
            pidfd,
            is_reaped: false,
        }
    }

    /// Looks up its id in the caller's namespace; none if it was reaped.
    pub(crate) fn id(&self) -> Option<u32> {
        process_id(self.pidfd.as_fd())
    }

    /// Kills it, and with it all processes of its namespace.
    pub(crate) fn kill(&self) {
        match rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => {}
            // Filters of a container around kiln may not know the call. The number is the child's
            // until it is reaped here.
            Err(_) => {
                let id = self.id().and_then(|id| i32::try_from(id).ok());
                if let Some(id) = id.and_then(Pid::from_raw) {
                    let _ = rustix::process::kill_process(id, Signal::KILL);
                }
            }
        }
    }

    /// Waits for its end.
    pub(crate) fn reap(&mut self) -> Result<WaitStatus, Errno> {
        let status = rustix::io::retry_on_intr(|| {
            rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED)
        })?;
        self.is_reaped = true;
        let status = status.ok_or(Errno::CHILD)?;
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Ok(WaitStatus::Exited(
                u8::try_from(code & 0xff).expect("eight bits are left"),
            )),
            (None, Some(signal)) => Ok(WaitStatus::Killed(signal)),
            (None, None) => Err(Errno::CHILD),
        }
    }
}

/// Looks up the id of a process in the caller's namespace; none if it was reaped.
pub(crate) fn process_id(process: BorrowedFd<'_>) -> Option<u32> {
    let number = process.as_raw_fd();
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).ok()?;
    let id = text.lines().find_map(|line| line.strip_prefix("Pid:"))?;
    // 0 is one of another namespace, -1 one that was reaped.
    id.trim().parse().ok().filter(|id| *id > 0)
}

impl Drop for Spawned {
    fn drop(&mut self) {
        if !self.is_reaped {
            self.kill();
            let _ = self.reap();
        }
    }
}

/// Runs something while no signal is delivered to this thread: a handler of kiln's must not run in
/// what it clones.
pub(super) fn without_signals<T>(make: impl FnOnce() -> T) -> T {
    let mask = raw::swap_signal_mask(u64::MAX);
    let made = make();
    raw::swap_signal_mask(mask);
    made
}

/// Clones the process and runs `child` in the copy, which ends after it.
///
/// # Safety
/// `child` may only make system calls.
pub(super) unsafe fn clone_and(
    flags: i32,
    cgroup: Option<BorrowedFd<'_>>,
    child: impl FnOnce(),
) -> Result<OwnedFd, Errno> {
    // SAFETY: the caller keeps `child` to system calls, and the copy ends after it.
    match unsafe { raw::clone_process(flags, cgroup) }? {
        None => {
            child();
            raw::exit(255)
        }
        Some(process) => Ok(process),
    }
}
