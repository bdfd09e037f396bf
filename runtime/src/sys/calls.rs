//! System calls of a sandbox that wait for kiln's answer (seccomp_unotify(2)).
//!
//! None is ever answered with `SECCOMP_USER_NOTIF_FLAG_CONTINUE`: what the kernel would do then is
//! decided by memory that other threads may have written to since.

use std::mem;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::process::DumpableBehavior;
use rustix::thread::{CapabilitiesSecureBits, CapabilitySet, CapabilitySets, LinkNameSpaceType};

use super::fork::{self, Spawned, WaitStatus};
use super::raw::{self, check};

/// How long making a socket may take: the kernel may load a module first.
const PATIENCE: Timespec = Timespec {
    tv_sec: 10,
    tv_nsec: 0,
};

/// A call that waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WaitingCall {
    id: u64,
    /// The thread that made it, as this process sees it; its number may be another's once the call
    /// is over.
    pub(crate) thread: u32,
    pub(crate) architecture: u32,
    pub(crate) number: u32,
    pub(crate) arguments: [u64; 6],
}

impl WaitingCall {
    /// Takes the next one. To be called when there is one to read.
    pub(crate) fn receive(listener: BorrowedFd<'_>) -> Result<Self, Errno> {
        // SAFETY: all zeros is what the kernel asks for.
        let mut call: libc::seccomp_notif = unsafe { mem::zeroed() };
        // SAFETY: the kernel writes one such structure.
        check(i64::from(unsafe {
            libc::ioctl(
                listener.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_RECV,
                &raw mut call,
            )
        }))?;
        Ok(Self {
            id: call.id,
            thread: call.pid,
            architecture: call.data.arch,
            number: call.data.nr.cast_unsigned(),
            arguments: call.data.args,
        })
    }

    /// Says whether it still waits: what was found out about its thread until now was about it.
    pub(crate) fn is_waiting(self, listener: BorrowedFd<'_>) -> bool {
        // SAFETY: the kernel reads one number.
        unsafe {
            libc::ioctl(
                listener.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_ID_VALID,
                &raw const self.id,
            ) == 0
        }
    }

    /// Lets it fail.
    pub(crate) fn refuse(self, listener: BorrowedFd<'_>, errno: Errno) {
        let mut answer = libc::seccomp_notif_resp {
            id: self.id,
            val: 0,
            error: -errno.raw_os_error(),
            flags: 0,
        };
        // SAFETY: the kernel reads one such structure. It refuses if the call is over, or was
        // answered.
        unsafe {
            libc::ioctl(
                listener.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_SEND,
                &raw mut answer,
            );
        }
    }

    /// Reads three words of the caller's memory, which others may be writing to.
    pub(crate) fn words(self, address: u32) -> Result<[u32; 3], Errno> {
        let mut words = [0_u32; 3];
        let ours = libc::iovec {
            iov_base: words.as_mut_ptr().cast(),
            iov_len: size_of_val(&words),
        };
        let theirs = libc::iovec {
            iov_base: address as usize as *mut _,
            iov_len: ours.iov_len,
        };
        // SAFETY: the kernel writes into `words` as many bytes as it has, and looks into no other
        // memory of this process.
        let read = check(unsafe {
            libc::syscall(
                libc::SYS_process_vm_readv,
                self.thread,
                &raw const ours,
                1,
                &raw const theirs,
                1,
                0,
            )
        })?;
        if usize::try_from(read) == Ok(ours.iov_len) {
            Ok(words)
        } else {
            Err(Errno::FAULT)
        }
    }

    /// Answers with a descriptor of the caller's, which the kernel makes of one of this process's.
    fn give(self, listener: BorrowedFd<'_>, descriptor: i32, flags: i32) -> Result<(), Errno> {
        let gift = libc::seccomp_notif_addfd {
            id: self.id,
            flags: libc::SECCOMP_ADDFD_FLAG_SEND as u32,
            srcfd: descriptor.cast_unsigned(),
            newfd: 0,
            newfd_flags: flags.cast_unsigned(),
        };
        // SAFETY: the kernel reads one such structure.
        check(i64::from(unsafe {
            libc::ioctl(
                listener.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_ADDFD,
                &raw const gift,
            )
        }))
        .map(drop)
    }
}

/// A socket that a process asks for, and what that process may do: the socket is made with its
/// rights.
#[derive(Debug)]
pub(crate) struct WantedSocket<'a> {
    pub(crate) family: u32,
    pub(crate) kind: u32,
    pub(crate) protocol: u32,
    /// The caller's network, unless that is kiln's.
    pub(crate) network: Option<BorrowedFd<'a>>,
    /// Files that take a process id, one for each control group of the caller's.
    pub(crate) cgroups: &'a [OwnedFd],
    /// The caller's version 2 control group.
    pub(crate) cgroup: Option<BorrowedFd<'a>>,
    /// The caller's supplementary groups; none where it has kiln's, since they cannot be set.
    pub(crate) groups: Option<&'a [Gid]>,
    /// Real, effective, saved, and that for files.
    pub(crate) users: [u32; 4],
    pub(crate) group_ids: [u32; 4],
    /// The caller's effective capabilities.
    pub(crate) capabilities: CapabilitySet,
}

/// Makes a socket in a process of its own that becomes like the caller first, and gives it to the
/// caller, or the error.
pub(crate) fn give_socket(call: WaitingCall, listener: BorrowedFd<'_>, wanted: &WantedSocket<'_>) {
    let child = || {
        let given = become_caller(wanted)
            // The error is not one of `socket`, so the caller must not take it for one.
            .map_err(|_| Errno::NOSYS)
            .and_then(|()| socket(wanted))
            .and_then(|socket| {
                let flags = wanted.kind.cast_signed() & libc::SOCK_CLOEXEC;
                call.give(listener, socket, flags)
            });
        if let Err(errno) = given {
            call.refuse(listener, errno);
        }
        raw::exit(0)
    };
    // SAFETY: the child makes system calls only.
    let process = fork::without_signals(|| unsafe { fork::clone_and(0, None, child) });
    let failed = match process {
        Ok(process) => !has_ended(Spawned::new(process)),
        Err(_) => true,
    };
    if failed {
        call.refuse(listener, Errno::NOBUFS);
    }
}

/// Waits for a process's end; says whether it ended by itself. It is killed otherwise.
fn has_ended(mut process: Spawned) -> bool {
    let mut end = [PollFd::new(&process.pidfd, PollFlags::IN)];
    let ended = rustix::io::retry_on_intr(|| rustix::event::poll(&mut end, Some(&PATIENCE)));
    ended == Ok(1) && process.reap() == Ok(WaitStatus::Exited(0))
}

/// Leaves this process, which is a copy of kiln, with nothing the caller does not have.
fn become_caller(wanted: &WantedSocket<'_>) -> Result<(), Errno> {
    // The user that it becomes must not look into it.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    // Memory of the socket counts in the caller's groups. A group may be entered even if no process
    // may be made in it.
    for procs in wanted.cgroups {
        rustix::io::write(procs, b"0")?;
    }
    if let Some(group) = wanted.cgroup {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let procs = rustix::fs::openat(group, c"cgroup.procs", flags, Mode::empty())?;
        rustix::io::write(procs, b"0")?;
    }
    if let Some(network) = wanted.network {
        let kind = Some(LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(network, kind)?;
    }
    // A change of the user leaves capabilities as they are; they are set at the end.
    let bits = CapabilitiesSecureBits::NO_SETUID_FIXUP;
    rustix::thread::set_capabilities_secure_bits(bits)?;
    if let Some(groups) = wanted.groups {
        rustix::thread::set_thread_groups(groups)?;
    }
    let [real, effective, saved, files] = wanted.group_ids;
    rustix::thread::set_thread_res_gid(
        Gid::from_raw(real),
        Gid::from_raw(effective),
        Gid::from_raw(saved),
    )?;
    set_file_ids(libc::SYS_setfsgid, files)?;
    let [real, effective, saved, files] = wanted.users;
    rustix::thread::set_thread_res_uid(
        Uid::from_raw(real),
        Uid::from_raw(effective),
        Uid::from_raw(saved),
    )?;
    set_file_ids(libc::SYS_setfsuid, files)?;
    let sets = CapabilitySets {
        effective: wanted.capabilities,
        permitted: wanted.capabilities,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets)
}

/// Sets a user or group id that decides about files and marks sockets, by `setfsuid` or `setfsgid`.
fn set_file_ids(call: i64, id: u32) -> Result<(), Errno> {
    // SAFETY: both take a number, and return the former one whether or not they do what is asked.
    let now = unsafe {
        libc::syscall(call, id);
        libc::syscall(call, u32::MAX)
    };
    if now as u32 == id {
        Ok(())
    } else {
        Err(Errno::PERM)
    }
}

fn socket(wanted: &WantedSocket<'_>) -> Result<i32, Errno> {
    // SAFETY: makes a descriptor, which this process keeps until its end; touches no memory.
    let socket = check(unsafe {
        libc::syscall(
            libc::SYS_socket,
            wanted.family,
            wanted.kind,
            wanted.protocol,
        )
    })?;
    Ok(socket as i32)
}
