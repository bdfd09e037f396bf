//! Which system calls a sandbox may make.
//!
//! [`policy`] says so, [`compile`] turns it into a program for the kernel. The policy is the one
//! of Docker's default profile, so that what builds there builds here: allow what is known to be
//! safe, refuse the rest with `EPERM`, and say `ENOSYS` to calls newer than the list, as runc
//! does, so that libraries fall back to older ones.
//!
//! One call is answered by kiln, because the filter cannot see its arguments: a program for i386 that
//! asks `socketcall` for a socket.

mod compile; // segments of system call numbers to BPF
mod policy; // the default profile

use libc::sock_filter;

/// Whether there are calls on this machine that kiln has to answer.
pub(crate) const ASKS: bool = cfg!(target_arch = "x86_64");

/// Returns the program for the machine this runs on.
pub(crate) fn default_filter() -> Vec<sock_filter> {
    compile::program(policy::ARCHITECTURES)
}

/// Says whether a call is the one that kiln answers, by its architecture, number and first argument.
pub(crate) fn is_for_kiln(architecture: u32, number: u32, first: u32) -> bool {
    (architecture, number, first)
        == (
            policy::I386_AUDIT,
            policy::SOCKETCALL_NUMBER,
            policy::SOCKETCALL_SOCKET,
        )
}

/// Says whether a sandbox may have sockets of an address family.
pub(crate) fn allows_family(family: u32) -> bool {
    policy::FAMILIES
        .iter()
        .any(|&(first, last)| (first..=last).contains(&family))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kiln_answers_one_call_of_one_architecture() {
        let (architecture, number, first) = (
            policy::I386_AUDIT,
            policy::SOCKETCALL_NUMBER,
            policy::SOCKETCALL_SOCKET,
        );
        assert!(is_for_kiln(architecture, number, first));
        for (architecture, number, first) in [
            (architecture + 1, number, first),
            (architecture, number + 1, first),
            (architecture, number, first + 1),
        ] {
            assert!(!is_for_kiln(architecture, number, first));
        }
    }

    #[test]
    fn families_of_sockets_are_the_policys() {
        for (first, last) in policy::FAMILIES {
            assert!(allows_family(*first) && allows_family(*last));
        }
        let most = policy::FAMILIES.iter().map(|(_, last)| *last).max();
        assert!(!allows_family(most.unwrap() + 1));
    }
}
