//! Programs of this machine that work for kiln outside of any sandbox, and do not outlive it.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::process::{Signal, set_parent_process_death_signal};

/// Makes a program end, at once, when the thread that starts it does, whatever ends that.
pub fn end_with_parent(command: &mut Command) {
    let tie = || set_parent_process_death_signal(Some(Signal::KILL)).map_err(io::Error::from);
    // SAFETY: between fork and exec this makes one system call; it neither allocates nor locks.
    unsafe {
        command.pre_exec(tie);
    }
}
