//! Asking the kernel what it would refuse a sandbox.

use rustix::io::Errno;

use super::fork::{self, Spawned, WaitStatus};
use super::{child, raw};

/// Says whether the kernel refuses sandboxes a `/proc` of their own, as it does in a user namespace
/// where parts of the `/proc` around it are hidden: what is hidden would be seen in a new one.
///
/// # Errors
/// No process could be made to ask.
pub fn proc_is_refused() -> Result<bool, std::io::Error> {
    let ask = || match child::new_proc() {
        Err(Errno::PERM) => raw::exit(1),
        _ => raw::exit(0),
    };
    // SAFETY: the child makes system calls only.
    let process =
        fork::without_signals(|| unsafe { fork::clone_and(libc::CLONE_NEWPID, None, ask) })?;
    Ok(Spawned::new(process).reap()? == WaitStatus::Exited(1))
}
