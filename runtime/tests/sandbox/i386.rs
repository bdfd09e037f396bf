//! Calls of the kernel as programs for i386 make them, and what a test needs around them.
#![expect(unsafe_code, reason = "calls the kernel as programs for i386 do")]

use std::arch::asm;
use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::io::Errno;
use rustix::process::Pid;

/// Makes a call by interrupt 0x80; all arguments have 32 bits.
fn call(number: u32, first: u32, second: u32, third: u32) -> Result<OwnedFd, Errno> {
    let result: u32;
    // SAFETY: the kernel makes a socket, reading at most three words at an address that need not be
    // one.
    unsafe {
        asm!(
            "xchg rbx, {first:r}",
            "int 0x80",
            "xchg rbx, {first:r}",
            first = inout(reg) u64::from(first) => _,
            inout("eax") number => result,
            in("ecx") second,
            in("edx") third,
        );
    }
    match RawFd::try_from(result) {
        // SAFETY: the kernel returned a new descriptor that nobody else owns.
        Ok(descriptor) => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        Err(_) => Err(Errno::from_raw_os_error(-result.cast_signed())),
    }
}

/// Makes a socket with a number of its own.
pub(crate) fn socket(family: i32, kind: i32, protocol: i32) -> Result<OwnedFd, Errno> {
    call(
        359,
        family.cast_unsigned(),
        kind.cast_unsigned(),
        protocol.cast_unsigned(),
    )
}

/// Makes a socket natively.
pub(crate) fn native_socket(family: i32, kind: i32, protocol: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: makes a socket.
    match unsafe { libc::socket(family, kind, protocol) } {
        -1 => Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap()),
        // SAFETY: the kernel returned a new descriptor that nobody else owns.
        descriptor => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
    }
}

/// The arguments of a `socketcall`, in reach of addresses of 32 bits. They stay until the end.
#[derive(Clone, Copy)]
pub(crate) struct Words(&'static [AtomicU32; 3]);

impl Words {
    pub(crate) fn new(family: i32, kind: i32, protocol: i32) -> Self {
        // SAFETY: asks for memory of one page, which is zero and nobody else's.
        let words = unsafe {
            let memory = libc::mmap(
                std::ptr::null_mut(),
                4096,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT,
                -1,
                0,
            );
            assert_ne!(memory, libc::MAP_FAILED);
            &*memory.cast::<[AtomicU32; 3]>()
        };
        for (word, value) in words.iter().zip([family, kind, protocol]) {
            word.store(value.cast_unsigned(), Ordering::Relaxed);
        }
        Self(words)
    }

    pub(crate) fn set_family(self, family: i32) {
        self.0[0].store(family.cast_unsigned(), Ordering::Relaxed);
    }

    /// Makes a socket with the arguments in memory.
    pub(crate) fn socket(self) -> Result<OwnedFd, Errno> {
        let address = u32::try_from(self.0.as_ptr() as usize).unwrap();
        socketcall(address)
    }
}

/// Makes a socket with the arguments at an address.
pub(crate) fn socketcall(address: u32) -> Result<OwnedFd, Errno> {
    call(102, 1, address, 0)
}

/// Makes a process that does something again and again until it is killed.
pub(crate) fn fork(mut child: impl FnMut()) -> Pid {
    // SAFETY: this process has one thread, so the copy is whole.
    match unsafe { libc::fork() } {
        0 => loop {
            child();
        },
        id => Pid::from_raw(id).unwrap(),
    }
}

/// Loads a filter that lets everything pass, and listens to it.
pub(crate) fn listen_to_nothing() -> OwnedFd {
    let mut pass = libc::sock_filter {
        code: (libc::BPF_RET | libc::BPF_K) as u16,
        jt: 0,
        jf: 0,
        k: libc::SECCOMP_RET_ALLOW,
    };
    let program = libc::sock_fprog {
        len: 1,
        filter: &raw mut pass,
    };
    // SAFETY: the kernel copies one instruction and returns a descriptor that nobody else owns.
    unsafe {
        let listener = libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        );
        assert!(listener >= 0, "{}", io::Error::last_os_error());
        OwnedFd::from_raw_fd(RawFd::try_from(listener).unwrap())
    }
}
