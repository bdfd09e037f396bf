//! Programs that say which devices a control group may use (bpf(2)).

use std::ffi::{c_int, c_long};
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use rustix::io::Errno;

use super::raw::check;

// linux/bpf.h.
const PROG_LOAD: c_int = 5;
const PROG_ATTACH: c_int = 8;
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_TYPE_CGROUP_DEVICE: u32 = 6;
/// Beside programs of the groups above, all of which have to agree.
const ALLOW_MULTI: u32 = 2;

/// One instruction, as the kernel reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct BpfInstruction {
    pub(crate) code: u8,
    /// The destination in the lower half, the source in the upper one.
    pub(crate) registers: u8,
    pub(crate) offset: i16,
    pub(crate) value: i32,
}

/// The beginning of what BPF_PROG_LOAD takes; the kernel takes the rest as zero.
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

/// The beginning of what BPF_PROG_ATTACH takes.
#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// Gives a program to the kernel, which verifies it.
pub(crate) fn load_device_program(program: &[BpfInstruction]) -> Result<OwnedFd, Errno> {
    let load = Load {
        kind: PROG_TYPE_CGROUP_DEVICE,
        count: u32::try_from(program.len()).map_err(|_| Errno::TOOBIG)?,
        instructions: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
    };
    // SAFETY: the kernel reads the structure, as many instructions as it says and a C string.
    let program = check(unsafe { bpf(PROG_LOAD, &load) })?;
    // SAFETY: the kernel returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(program as c_int) })
}

/// Lets a program decide for a version 2 control group, for as long as that exists.
pub(crate) fn attach_device_program(
    program: BorrowedFd<'_>,
    group: BorrowedFd<'_>,
) -> Result<(), Errno> {
    let attach = Attach {
        target: group.as_raw_fd().cast_unsigned(),
        program: program.as_raw_fd().cast_unsigned(),
        kind: ATTACH_TYPE_CGROUP_DEVICE,
        flags: ALLOW_MULTI,
    };
    // SAFETY: the kernel reads the structure.
    check(unsafe { bpf(PROG_ATTACH, &attach) }).map(drop)
}

/// # Safety
/// `attributes` is what the command takes, and what it points to is there.
unsafe fn bpf<T>(command: c_int, attributes: &T) -> c_long {
    // SAFETY: the caller's.
    unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attributes),
            size_of::<T>(),
        )
    }
}
