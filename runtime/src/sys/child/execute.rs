//! Becoming the program, by way of the launcher.

use std::ffi::CStr;

use rustix::fs::{Access, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::descriptors::{self, LAUNCHER};
use crate::sys::program::ProcessSetup;
use crate::sys::raw;
use crate::sys::report::{Record, SetupStage};

/// Executes the first candidate that can be; returns only if none became the program.
pub(super) fn execute(program: &ProcessSetup<'_>) {
    let mut denied = false;
    for (index, path) in program.candidates.iter().enumerate() {
        match check(path) {
            Ok(()) => {
                descriptors::report(&Record::attempt(index).to_bytes());
                let arguments = program.arguments.with(path);
                let errno = raw::execute_descriptor(LAUNCHER, arguments, program.env);
                return descriptors::report(&errno.raw_os_error().to_ne_bytes());
            }
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(Errno::ACCESS) => denied = true,
            Err(errno) => {
                let record = Record::failure(SetupStage::Execute, index, errno);
                return descriptors::report(&record.to_bytes());
            }
        }
    }
    let errno = if denied { Errno::ACCESS } else { Errno::NOENT };
    descriptors::report(&Record::failure(SetupStage::Search, 0, errno).to_bytes());
}

/// Says whether a path is one of a file that may be executed.
///
/// No link of `/proc` that leads to an open file or a process's directory is followed: what is found
/// there is not the image's. The launcher follows the path once more, when it may have changed; by
/// then such a link leads nowhere but to what the sandbox has.
fn check(path: &CStr) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let links = ResolveFlags::NO_MAGICLINKS;
    let file = rustix::fs::openat2(CWD, path, flags, Mode::empty(), links)?;
    match FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) {
        FileType::RegularFile => rustix::fs::access(path, Access::EXEC_OK),
        _ => Err(Errno::ACCESS),
    }
}
