//! Sockets for programs whose arguments lie in memory, where the filter cannot look.
//!
//! A program for i386 that makes a socket by `socketcall` waits until kiln has made it. kiln reads
//! the arguments once and decides by what it has read; the socket is then one that `socket` would
//! have given the caller: made in its network namespace and control groups, as its user, with its
//! capabilities. Whatever goes wrong, the call fails.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::Gid;
use rustix::io::Errno;
use rustix::thread::CapabilitySet;

use super::groups::Groups;
use crate::cgroup::Cgroup;
use crate::seccomp;
use crate::sys::{self, WaitingCall, WantedSocket};

/// Answers the calls for sockets of one job.
#[derive(Debug)]
pub(crate) struct Sockets {
    listener: Option<OwnedFd>,
    /// Whether processes of the job may have other groups than kiln.
    sets_groups: bool,
}

impl Sockets {
    pub(super) fn new(sets_groups: bool) -> Self {
        Self {
            listener: None,
            sets_groups,
        }
    }

    /// Begins to answer.
    pub(super) fn listen(&mut self, listener: Option<OwnedFd>) {
        self.listener = listener;
    }

    /// Returns what is readable when a call waits; none if none will come.
    pub(crate) fn listener(&self) -> Option<BorrowedFd<'_>> {
        self.listener.as_ref().map(|listener| listener.as_fd())
    }

    /// Answers one call, if one waits. `groups` are the job's.
    pub(crate) fn answer(&mut self, groups: &Groups) {
        let Some(listener) = self.listener() else {
            return;
        };
        match arrived(listener) {
            Ok(CallArrival::Call) => {}
            Ok(CallArrival::Nothing) => return,
            Ok(CallArrival::End) | Err(_) => {
                self.listener = None;
                return;
            }
        }
        // The call of a caller that was killed meanwhile is gone.
        let Ok(call) = WaitingCall::receive(listener) else {
            return;
        };
        if let Err(errno) = self.give(listener, call, groups.limits()) {
            call.refuse(listener, errno);
        }
    }

    fn give(
        &self,
        listener: BorrowedFd<'_>,
        call: WaitingCall,
        cgroup: Option<&Cgroup>,
    ) -> Result<(), Errno> {
        let [first, second, ..] = call.arguments.map(|argument| argument as u32);
        if !seccomp::is_for_kiln(call.architecture, call.number, first) {
            return Err(Errno::NOSYS);
        }
        let [family, kind, protocol] = call.words(second).map_err(|errno| match errno {
            Errno::FAULT => errno,
            _ => Errno::NOSYS,
        })?;
        let caller = Caller::look(call.thread).map_err(|_| Errno::NOSYS)?;
        if !call.is_waiting(listener) {
            return Err(Errno::SRCH);
        }
        if !seccomp::allows_family(family) {
            return Err(Errno::PERM);
        }
        let wanted = WantedSocket {
            family,
            kind,
            protocol,
            network: caller.network.as_ref().map(|network| network.as_fd()),
            cgroups: cgroup.map_or(&[][..], Cgroup::procs_files),
            cgroup: cgroup.and_then(Cgroup::directory),
            groups: self.sets_groups.then_some(&caller.identity.groups),
            users: caller.identity.users,
            group_ids: caller.identity.group_ids,
            capabilities: caller.identity.capabilities,
        };
        sys::give_socket(call, listener, &wanted);
        Ok(())
    }
}

enum CallArrival {
    Call,
    Nothing,
    /// All processes that could make a call are gone.
    End,
}

fn arrived(listener: BorrowedFd<'_>) -> Result<CallArrival, Errno> {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mut event = [PollFd::from_borrowed_fd(listener, PollFlags::IN)];
    rustix::io::retry_on_intr(|| rustix::event::poll(&mut event, Some(&now)))?;
    let flags = event[0].revents();
    Ok(if flags.contains(PollFlags::IN) {
        CallArrival::Call
    } else if flags.is_empty() {
        CallArrival::Nothing
    } else {
        CallArrival::End
    })
}

/// The process that asks for a socket.
#[derive(Debug)]
struct Caller {
    /// None if it is on kiln's own network.
    network: Option<File>,
    identity: CallerIdentity,
}

/// What a process may do, as proc_pid_status(5) says it.
#[derive(Debug, PartialEq, Eq)]
struct CallerIdentity {
    users: [u32; 4],
    group_ids: [u32; 4],
    groups: Vec<Gid>,
    capabilities: CapabilitySet,
}

impl Caller {
    /// Finds out about a thread.
    fn look(thread: u32) -> io::Result<Self> {
        // In a process namespace with the `/proc` of another one, numbers mean other processes.
        if fs::read_link("/proc/self")? != Path::new(&std::process::id().to_string()) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let directory = Path::new("/proc").join(thread.to_string());
        let status = fs::read_to_string(directory.join("status"))?;
        let network = File::open(directory.join("ns/net"))?;
        let (own, theirs) = (fs::metadata("/proc/self/ns/net")?, network.metadata()?);
        let is_ours = (own.dev(), own.ino()) == (theirs.dev(), theirs.ino());
        Ok(Self {
            network: (!is_ours).then_some(network),
            identity: CallerIdentity::parse(&status).ok_or(io::ErrorKind::InvalidData)?,
        })
    }
}

impl CallerIdentity {
    fn parse(status: &str) -> Option<Self> {
        let field = |name: &str| {
            let mut lines = status.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"))
        };
        let ids = |name| -> Option<Vec<u32>> {
            let ids = field(name)?.split_whitespace().map(str::parse);
            ids.collect::<Result<_, _>>().ok()
        };
        let capabilities = u64::from_str_radix(field("CapEff")?, 16).ok()?;
        Some(Self {
            users: ids("Uid")?.try_into().ok()?,
            group_ids: ids("Gid")?.try_into().ok()?,
            groups: ids("Groups")?.into_iter().map(Gid::from_raw).collect(),
            capabilities: CapabilitySet::from_bits_retain(capabilities),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_from_its_status() {
        let status = "Name:\tUid:\t7\nUmask:\t0022\nUid:\t0\t1\t2\t3\nGid:\t4\t5\t6\t7\n\
            FDSize:\t64\nGroups:\t4 27 \nCapPrm:\t00000000a80425fb\nCapEff:\t0000000000000003\n";
        let gid = Gid::from_raw;
        let expected = CallerIdentity {
            users: [0, 1, 2, 3],
            group_ids: [4, 5, 6, 7],
            groups: vec![gid(4), gid(27)],
            capabilities: CapabilitySet::CHOWN | CapabilitySet::DAC_OVERRIDE,
        };
        assert_eq!(CallerIdentity::parse(status), Some(expected));
        let none = status.replace("4 27 ", "");
        assert_eq!(CallerIdentity::parse(&none).unwrap().groups, []);
        for name in ["Uid", "Gid", "Groups", "CapEff"] {
            let missing = status.replace(&format!("\n{name}:"), "\nOther:");
            assert_eq!(CallerIdentity::parse(&missing), None, "{name}");
        }
    }
}
