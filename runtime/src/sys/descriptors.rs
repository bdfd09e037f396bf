//! Closing descriptors in a process that was just cloned.

use std::ffi::{CStr, c_int};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use rustix::fs::{Mode, OFlags, RawDir};
use rustix::io::Errno;

use super::raw;

/// Closes every descriptor from `first` on. `proc` is the `/proc` of the process that was cloned.
pub(super) fn close_from(first: c_int, proc: BorrowedFd<'_>) -> Result<(), Errno> {
    match raw::close_range(first) {
        // A system call filter around kiln that does not know this call.
        Err(Errno::NOSYS | Errno::PERM) => close_listed(first, proc),
        other => other,
    }
}

/// Closes descriptors one by one, as the kernel lists them.
fn close_listed(first: c_int, proc: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(proc, c"self/fd", flags, Mode::empty())?;
    let own = directory.as_raw_fd();
    let mut buffer = [MaybeUninit::uninit(); 2048];
    let mut entries = RawDir::new(&directory, &mut buffer);
    while let Some(entry) = entries.next() {
        match number(entry?.file_name()) {
            Some(descriptor) if descriptor >= first && descriptor != own => raw::close(descriptor),
            _ => {}
        }
    }
    Ok(())
}

/// Reads the name of a descriptor; none for `.` and `..`.
fn number(name: &CStr) -> Option<c_int> {
    let mut number: c_int = 0;
    for &byte in name.to_bytes() {
        let digit = byte.is_ascii_digit().then(|| c_int::from(byte - b'0'))?;
        number = number.checked_mul(10)?.checked_add(digit)?;
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{Spawned, WaitStatus, fork};

    #[test]
    fn both_ways_close_everything() {
        let proc =
            rustix::fs::open(c"/proc", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        type Way = fn(c_int, BorrowedFd<'_>) -> Result<(), Errno>;
        let ways: [Way; 2] = [close_from, close_listed];
        for way in ways {
            let many: Vec<_> = (0..300)
                .map(|_| rustix::io::fcntl_dupfd_cloexec(&proc, 0).unwrap())
                .collect();
            let highest = many.iter().map(|fd| fd.as_raw_fd()).max().unwrap();
            let child = || {
                let closed = way(3, std::os::fd::AsFd::as_fd(&proc));
                let left = (3..=highest).filter(|&fd| raw::is_open(fd)).count();
                raw::exit(match (closed, left) {
                    (Ok(()), 0) => 0,
                    (Ok(()), _) => 1,
                    (Err(_), _) => 2,
                });
            };
            // SAFETY: the child makes system calls only.
            let copy = fork::without_signals(|| unsafe { fork::clone_and(0, None, child) });
            assert_eq!(
                Spawned::new(copy.unwrap()).reap().unwrap(),
                WaitStatus::Exited(0)
            );
        }
    }

    #[test]
    fn names_are_numbers() {
        assert_eq!(number(c"12"), Some(12));
        assert_eq!(number(c".."), None);
        assert_eq!(number(c"99999999999"), None);
    }
}
