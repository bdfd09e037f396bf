//! System calls that rustix lacks or calls unsafe.

use std::ffi::{CStr, c_char, c_int, c_long, c_uint, c_ulong, c_void};
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::ptr;

use libc::sock_filter;
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use rustix::process::Pid;
use rustix::thread::UnshareFlags;

use super::exec::Strings;

pub(super) fn check(result: c_long) -> Result<c_long, Errno> {
    match result {
        -1 => {
            // SAFETY: glibc returns the address of this thread's errno, which is always valid.
            Err(Errno::from_raw_os_error(unsafe {
                *libc::__errno_location()
            }))
        }
        value => Ok(value),
    }
}

/// Sets and clears attributes of a mount, and its propagation unless that is 0.
///
/// With `recursive`, of all mounts below it too.
pub(crate) fn mount_setattr(
    mount: impl AsFd,
    recursive: bool,
    set: MountAttrFlags,
    propagation: u64,
) -> Result<(), Errno> {
    let attributes = libc::mount_attr {
        attr_set: u64::from(set.bits()),
        attr_clr: 0,
        propagation,
        userns_fd: 0,
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is an empty C string and `attributes` a structure of the size given; the
    // kernel only reads both.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags as c_uint,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    })?;
    Ok(())
}

/// Leaves some of the caller's namespaces for new ones.
///
/// `FILES` is not to be passed: other threads would lose sight of descriptors.
pub(crate) fn unshare(namespaces: UnshareFlags) -> Result<(), Errno> {
    debug_assert!(!namespaces.contains(UnshareFlags::FILES));
    // SAFETY: unsafe only because of FILES, which is excluded.
    unsafe { rustix::thread::unshare_unsafe(namespaces - UnshareFlags::FILES) }
}

/// Opens the other end of a terminal in the very mount that `master` was opened in.
pub(crate) fn open_terminal_peer(master: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: this request takes its flags by value and touches no memory.
    let fd = check(c_long::from(unsafe {
        libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags)
    }))?;
    // SAFETY: the kernel returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as c_int) })
}

/// Sends a signal by number: rustix knows no real-time ones.
pub(crate) fn send_signal(process: BorrowedFd<'_>, number: c_int) -> Result<(), Errno> {
    // SAFETY: no signal information is passed, so no memory is touched.
    check(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            process.as_raw_fd(),
            number,
            ptr::null::<libc::siginfo_t>(),
            0,
        )
    })
    .map(drop)
}

/// Blocks signals in this thread and returns a descriptor to read them from: a `signalfd_siginfo`
/// for each. Bit 0 of the mask is signal 1.
///
/// # Errors
/// The process has no descriptor left.
pub fn take_signals(mask: u64) -> Result<OwnedFd, Errno> {
    // SAFETY: the kernel reads a mask of the size given.
    let fd = check(unsafe {
        libc::syscall(
            libc::SYS_signalfd4,
            -1,
            &raw const mask,
            size_of::<u64>(),
            libc::SFD_CLOEXEC | libc::SFD_NONBLOCK,
        )
    })?;
    // SAFETY: the kernel returned a new descriptor that nobody else owns.
    let descriptor = unsafe { OwnedFd::from_raw_fd(fd as c_int) };
    let former = swap_signal_mask(mask);
    swap_signal_mask(former | mask);
    Ok(descriptor)
}

/// Lets all signals be delivered to this thread, and to those it starts.
pub fn accept_signals() {
    swap_signal_mask(0);
}

/// Makes descriptor `new` a duplicate of `old` that `execve` closes. They differ.
pub(super) fn move_onto(old: BorrowedFd<'_>, new: c_int) -> Result<(), Errno> {
    // SAFETY: only the new process calls this, and it owns every descriptor number.
    check(unsafe { libc::syscall(libc::SYS_dup3, old.as_raw_fd(), new, libc::O_CLOEXEC) }).map(drop)
}

/// Makes descriptor `new` a duplicate of `old` that survives `execve`.
pub(super) fn duplicate_onto(old: BorrowedFd<'_>, new: c_int) -> Result<(), Errno> {
    if old.as_raw_fd() == new {
        // dup3 refuses equal numbers, and the flag to close on exec has to go.
        // SAFETY: changes a flag of a descriptor, no memory.
        return check(c_long::from(unsafe { libc::fcntl(new, libc::F_SETFD, 0) })).map(drop);
    }
    // SAFETY: only the new process calls this, and it owns every descriptor number.
    check(unsafe { libc::syscall(libc::SYS_dup3, old.as_raw_fd(), new, 0) }).map(drop)
}

/// Closes a descriptor that the new process inherited and nothing in it will use.
pub(super) fn close(descriptor: c_int) {
    // SAFETY: only a new process calls this, whose copies of the parent's owners never run.
    unsafe { libc::syscall(libc::SYS_close, descriptor) };
}

/// Says whether a descriptor is open.
#[cfg(test)]
pub(super) fn is_open(descriptor: c_int) -> bool {
    // SAFETY: asks for a flag of a descriptor, no memory.
    unsafe { libc::fcntl(descriptor, libc::F_GETFD) != -1 }
}

/// Closes every descriptor from `first` on.
pub(super) fn close_range(first: c_int) -> Result<(), Errno> {
    // SAFETY: only a new process calls this, whose copies of the parent's owners never run.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, c_uint::MAX, 0) }).map(drop)
}

/// Gives every signal its default action and unblocks it.
pub(super) fn reset_signals() {
    // The kernel's structure is at most 32 bytes; all zeros is SIG_DFL, no flags, nothing masked.
    let default = [0_u64; 4];
    let unblocked = 0_u64;
    for signal in 1..=64 {
        // SAFETY: the kernel reads one structure. It refuses SIGKILL and SIGSTOP, which are at
        // their default action anyway.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                ptr::null::<u64>(),
                size_of::<u64>(),
            );
        }
    }
    // SAFETY: the kernel reads a mask of the size given.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const unblocked,
            ptr::null::<u64>(),
            size_of::<u64>(),
        );
    }
}

/// Replaces the signal mask of the calling thread by `mask` and returns the former one.
pub(super) fn swap_signal_mask(mask: u64) -> u64 {
    let mut former = 0_u64;
    // SAFETY: the kernel reads one mask and writes the other, both of the size given.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask,
            &raw mut former,
            size_of::<u64>(),
        );
    }
    former
}

/// Makes the terminal on standard input the controlling one of the session.
pub(super) fn take_terminal() -> Result<(), Errno> {
    // SAFETY: the request takes a number.
    check(c_long::from(unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) })).map(drop)
}

/// Starts the loopback device of the current network namespace.
pub(super) fn start_loopback() -> Result<(), Errno> {
    // SAFETY: all zeros is a valid `ifreq`: an empty name and a number.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    request.ifr_name[0] = b'l' as c_char;
    request.ifr_name[1] = b'o' as c_char;
    request.ifr_ifru.ifru_flags = libc::IFF_UP as i16;
    // SAFETY: touches no memory.
    let socket = check(unsafe {
        libc::syscall(
            libc::SYS_socket,
            libc::AF_INET,
            libc::SOCK_DGRAM | libc::SOCK_CLOEXEC,
            0,
        )
    })?;
    // SAFETY: the kernel reads one `ifreq`.
    let result = check(c_long::from(unsafe {
        libc::ioctl(socket as c_int, libc::SIOCSIFFLAGS, &raw const request)
    }));
    // SAFETY: the descriptor was opened above.
    unsafe { libc::syscall(libc::SYS_close, socket) };
    result.map(drop)
}

/// Loads a system call filter without asking for `no_new_privs`, so it takes `CAP_SYS_ADMIN`.
/// Returns the kernel's answer: with `SECCOMP_FILTER_FLAG_NEW_LISTENER` a descriptor.
pub(super) fn load_filter(filter: &[sock_filter], flags: c_ulong) -> Result<c_int, Errno> {
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(|_| Errno::TOOBIG)?,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel copies `len` instructions; both structures have the layout of
    // linux/filter.h.
    check(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    })
    .map(|answer| answer as c_int)
}

/// Replaces the process by a program; returns only if that fails.
pub(super) fn execute(path: &CStr, argv: &Strings, env: &Strings) -> Errno {
    // SAFETY: the path is a C string and both lists end with a null pointer.
    let result = check(unsafe {
        libc::syscall(libc::SYS_execve, path.as_ptr(), argv.as_ptr(), env.as_ptr())
    });
    match result {
        Err(error) => error,
        Ok(_) => Errno::NOEXEC,
    }
}

/// Replaces the process by the program of a descriptor; returns only if that fails.
pub(super) fn execute_descriptor(
    program: c_int,
    argv: *const *const c_char,
    env: &Strings,
) -> Errno {
    // SAFETY: the path is an empty C string and both lists end with a null pointer.
    let result = check(unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program,
            c"".as_ptr(),
            argv,
            env.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    });
    match result {
        Err(error) => error,
        Ok(_) => Errno::NOEXEC,
    }
}

/// Writes all to a descriptor that is known by number only.
pub(super) fn write_to(descriptor: c_int, bytes: &[u8]) {
    // SAFETY: the kernel reads as many bytes as there are. If it fails, kiln sees that the process
    // has ended.
    unsafe { libc::syscall(libc::SYS_write, descriptor, bytes.as_ptr(), bytes.len()) };
}

/// Borrows a descriptor that is known by number only.
pub(super) fn borrow(descriptor: c_int) -> BorrowedFd<'static> {
    // SAFETY: only a new process calls this, which closes nothing that it still uses.
    unsafe { BorrowedFd::borrow_raw(descriptor) }
}

/// Says whether the working directory lies below the root of this process.
pub(super) fn is_inside() -> Result<bool, Errno> {
    let mut path = [0_u8; libc::PATH_MAX as usize];
    // SAFETY: the kernel writes no more than the length given.
    check(unsafe { libc::syscall(libc::SYS_getcwd, path.as_mut_ptr(), path.len()) })?;
    // Otherwise the kernel says "(unreachable)".
    Ok(path.first() == Some(&b'/'))
}

/// Ends the process at once, running nothing.
pub(super) fn exit(code: c_int) -> ! {
    loop {
        // SAFETY: does not return.
        unsafe { libc::syscall(libc::SYS_exit_group, code) };
    }
}

/// The stack of a process that shares memory with this one.
#[derive(Debug)]
pub(super) struct ChildStack(Box<[MaybeUninit<u128>]>);

impl ChildStack {
    /// Bytes.
    const LENGTH: usize = 256 << 10;

    pub(super) fn new() -> Self {
        Self(Box::new_uninit_slice(Self::LENGTH / size_of::<u128>()))
    }
}

/// Runs something in a process that shares memory and descriptors with this one, while the calling
/// thread waits: for what depends on which process does it. The process is to be reaped.
///
/// # Safety
/// `task` may only make system calls and must not unwind.
pub(super) unsafe fn run_beside<T: FnOnce()>(
    flags: c_int,
    stack: &mut ChildStack,
    task: T,
) -> Result<Pid, Errno> {
    extern "C" fn run<T: FnOnce()>(task: *mut c_void) -> c_int {
        // SAFETY: it is the `Option` below, which outlives this process.
        if let Some(task) = unsafe { (*task.cast::<Option<T>>()).take() } {
            task();
        }
        0
    }
    let mut task = Some(task);
    let sharing = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_FILES | libc::SIGCHLD;
    // SAFETY: the stack is aligned, grows downwards and is used by this process alone; with
    // CLONE_VFORK neither it nor the task goes away before the process has ended.
    let process = check(c_long::from(unsafe {
        libc::clone(
            run::<T>,
            stack.0.as_mut_ptr_range().end.cast(),
            sharing | flags,
            (&raw mut task).cast(),
        )
    }))?;
    Pid::from_raw(process as i32).ok_or(Errno::CHILD)
}

/// Clones the process; the copy shares no memory with it.
///
/// Returns a descriptor of the new process, or none in the new process itself.
///
/// # Safety
/// The new process may only make system calls until it ends or becomes another program.
pub(super) unsafe fn clone_process(
    flags: c_int,
    cgroup: Option<BorrowedFd<'_>>,
) -> Result<Option<OwnedFd>, Errno> {
    let mut pidfd: c_int = -1;
    // SAFETY: all zeros is what the kernel takes as "not given".
    let mut arguments: libc::clone_args = unsafe { mem::zeroed() };
    arguments.flags = (flags as u32 as u64) | libc::CLONE_PIDFD as u64;
    arguments.pidfd = &raw mut pidfd as u64;
    // A sibling has the exit signal of the process that makes it.
    if flags & libc::CLONE_PARENT == 0 {
        arguments.exit_signal = libc::SIGCHLD as u64;
    }
    if let Some(cgroup) = cgroup {
        // Spelled out because CLONE_INTO_CGROUP does not fit the type of the other flags.
        arguments.flags |= 0x2_0000_0000;
        arguments.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM the new process has its own copy of this stack; the kernel writes
    // one descriptor to `pidfd`. The caller keeps the new process to system calls.
    let result = check(unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw const arguments,
            size_of::<libc::clone_args>(),
        )
    })?;
    if result == 0 {
        return Ok(None);
    }
    // SAFETY: the kernel returned a new descriptor that nobody else owns.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(pidfd) }))
}
