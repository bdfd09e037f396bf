//! The process with which all sandboxes of kiln end.
//!
//! A program can escape a signal at the death of its parent: it asks for none, or changes its user.
//! It cannot escape a process namespace: with the first process of one the kernel kills all others,
//! those of the namespaces below too. So kiln keeps a process that only waits for kiln's end, and
//! every sandbox is born in a namespace below that of this keeper. No process of a sandbox sees the
//! keeper, so none can stop it, and killing it from outside kills the sandboxes.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

use super::descriptors;
use super::fork::{self, Spawned};
use super::raw::{self, ChildStack};

/// The first process of the namespace that all sandboxes are below.
#[derive(Debug)]
pub(crate) struct Keeper {
    _process: Spawned,
    namespace: OwnedFd,
}

impl Keeper {
    /// Starts a keeper. `proc` is the caller's `/proc`.
    pub(crate) fn start(proc: BorrowedFd<'_>) -> Result<Self, Errno> {
        // Opened here, since kiln has no number in the new namespace. Kiln cannot end in between.
        let kiln = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?;
        let mut process = Err(Errno::CHILD);
        let mut namespace = Err(Errno::CHILD);
        let kiln = kiln.as_fd();
        // A process whose children are born in another namespace can undo that only as root outside,
        // so another process does it.
        let start = |_: &mut ChildStack| {
            process = raw::unshare(UnshareFlags::NEWPID).and_then(|()| {
                // SAFETY: the keeper makes system calls only.
                unsafe { fork::clone_and(libc::CLONE_PARENT, None, || keep(kiln, proc)) }
            });
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let path = c"thread-self/ns/pid_for_children";
            namespace = rustix::fs::openat(proc, path, flags, Mode::empty());
            None
        };
        // SAFETY: this makes system calls and keeps their results.
        unsafe { beside(start) }?;
        Ok(Self {
            _process: Spawned::new(process?),
            namespace: namespace?,
        })
    }

    /// Clones a process that is born below the keeper, with `flags` for its namespaces, of which
    /// there is one for processes.
    ///
    /// The kernel makes such a namespace only for who is in the one above. So a process is born
    /// there that makes a sibling, a child of kiln.
    pub(super) fn below(
        &self,
        flags: i32,
        cgroup: Option<BorrowedFd<'_>>,
        child: impl FnOnce(),
    ) -> Result<Spawned, Errno> {
        let mut made = Err(Errno::CHILD);
        let namespace = self.namespace.as_fd();
        let make = |stack: &mut ChildStack| {
            let kind = Some(LinkNameSpaceType::ProcessID);
            let entered = rustix::thread::move_into_link_name_space(namespace, kind);
            if let Err(errno) = entered {
                made = Err(errno);
                return None;
            }
            // SAFETY: as above, and the child makes system calls only.
            let inside = unsafe {
                raw::run_beside(libc::CLONE_PARENT, stack, || {
                    made = fork::clone_and(flags | libc::CLONE_PARENT, cgroup, child);
                })
            };
            inside.map_err(|errno| made = Err(errno)).ok()
        };
        // SAFETY: this makes system calls and keeps their results.
        unsafe { beside(make) }?;
        made.map(Spawned::new)
    }
}

/// Runs something in a process that shares all with this one but may enter other namespaces. It may
/// make one more of the kind, with the stack it is given, and returns that one's number.
///
/// # Safety
/// `task` may only make system calls and must not unwind.
unsafe fn beside(task: impl FnOnce(&mut ChildStack) -> Option<Pid>) -> Result<(), Errno> {
    let mut stack = ChildStack::new();
    let mut second_stack = ChildStack::new();
    fork::without_signals(|| {
        let mut second = None;
        // SAFETY: the caller keeps the task to system calls.
        let first = unsafe { raw::run_beside(0, &mut stack, || second = task(&mut second_stack)) }?;
        for process in [Some(first), second].into_iter().flatten() {
            // Both have ended; this takes them from the kernel's table.
            let _ = rustix::io::retry_on_intr(|| {
                rustix::process::waitid(WaitId::Pid(process), WaitIdOptions::EXITED)
            });
        }
        Ok(())
    })
}

/// What the keeper does: wait for the end of kiln.
fn keep(kiln: BorrowedFd<'_>, proc: BorrowedFd<'_>) {
    // So that keys of kiln's terminal send it no signals. Signals stay blocked.
    let _ = rustix::process::setsid();
    // A copy of kiln holds kiln's locks and pipes for as long as they are open in it.
    let kept = raw::duplicate_onto(kiln, 0).and_then(|()| descriptors::close_from(1, proc));
    if kept.is_ok() {
        let kiln = rustix::stdio::stdin();
        let mut end = [PollFd::from_borrowed_fd(kiln, PollFlags::IN)];
        let _ = rustix::io::retry_on_intr(|| rustix::event::poll(&mut end, None));
    }
}
