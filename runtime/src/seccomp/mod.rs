//! Which system calls a sandbox may make.
//!
//! [`policy`] says so, [`compile`] turns it into a program for the kernel. The policy is the one
//! of Docker's default profile, so that what builds there builds here: allow what is known to be
//! safe, refuse the rest with `EPERM`, and say `ENOSYS` to calls newer than the list, as runc
//! does, so that libraries fall back to older ones.

mod compile; // segments of system call numbers to BPF
mod policy; // the default profile

use libc::sock_filter;

/// Returns the program for the machine this runs on.
pub(crate) fn default_filter() -> Vec<sock_filter> {
    compile::program(policy::ARCHITECTURES)
}
