//! The system calls that `rustix` lacks or marks unsafe.

#![expect(
    unsafe_code,
    reason = "this module is where the crate's raw calls live"
)]

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use rustix::thread::UnshareFlags;

/// Makes the mounts of a detached tree read-only.
pub(crate) fn make_read_only(tree: BorrowedFd<'_>) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: the descriptor is open for the length of the call, the path is a string constant
    // ending in zero, and the kernel reads `attributes` within the size given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Runs `act` on a new thread that has a mount namespace of its own, whose mounts no other
/// process sees.
pub(crate) fn in_private_mount_namespace<T: Send>(
    act: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = kiln_threads::spawn_or_fail(scope, || {
            // SAFETY: the flags change the file system view of this thread alone (no FILES flag,
            // so descriptors stay shared), and the thread ends after `act`.
            unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS | UnshareFlags::NEWNS) }?;
            act()
        })?;
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
