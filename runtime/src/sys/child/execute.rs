//! Becoming the program.

use std::ffi::CStr;

use rustix::fs::Timespec;
use rustix::io::Errno;

use crate::sys::program::Program;
use crate::sys::raw;
use crate::sys::report::{Record, Stage};

/// Tries the candidates; returns only if none became the program.
pub(super) fn execute(program: &Program<'_>) -> Record {
    let mut denied = false;
    for (index, path) in program.candidates.iter().enumerate() {
        match execute_when_written(program, path) {
            Errno::NOENT | Errno::NOTDIR => {
                // There, but its interpreter is not.
                if rustix::fs::access(path, rustix::fs::Access::EXISTS).is_ok() {
                    return Record::failure(Stage::Execute, index, Errno::NOENT);
                }
            }
            Errno::ACCESS => denied = true,
            errno => return Record::failure(Stage::Execute, index, errno),
        }
    }
    let errno = if denied { Errno::ACCESS } else { Errno::NOENT };
    Record::failure(Stage::Search, 0, errno)
}

/// Executes a file, waiting for those who write to it.
///
/// Another thread of the parent may have been writing this very program when it cloned a sandbox:
/// that sandbox holds a copy of the descriptor until it executes its own program, within
/// milliseconds. Whoever writes for longer does so on purpose.
fn execute_when_written(program: &Program<'_>, path: &CStr) -> Errno {
    let pause = Timespec {
        tv_sec: 0,
        tv_nsec: 5_000_000,
    };
    for _ in 0..40 {
        match raw::execute(path, program.argv, program.env) {
            Errno::TXTBSY => {
                let _ = rustix::thread::nanosleep(&pause);
            }
            other => return other,
        }
    }
    Errno::TXTBSY
}
