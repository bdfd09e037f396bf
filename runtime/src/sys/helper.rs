//! Small processes that assist in making a user namespace.
//!
//! Maps of more than one id are written from outside the new namespace. A helper is cloned before
//! the caller enters it, waits for a word, and then either becomes `newuidmap` or writes itself.

use std::ffi::CString;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus};

use super::exec::Strings;
use super::{fork, raw};

/// What a helper does once it is told to.
#[derive(Debug)]
pub(crate) enum MapTask {
    /// Becomes a program.
    Execute {
        program: CString,
        argv: Strings,
        env: Strings,
    },
    /// Writes text to a file.
    Write { file: CString, text: CString },
}

/// A helper that waits to be told.
#[derive(Debug)]
pub(crate) struct MapHelper {
    go: OwnedFd,
    errors: OwnedFd,
    pidfd: OwnedFd,
}

/// How a helper ended.
#[derive(Debug)]
pub(crate) struct MapHelperEnd {
    /// Its exit code; death by a signal counts as 255.
    pub(crate) code: i32,
    /// What it wrote to standard error.
    pub(crate) message: String,
}

impl MapHelper {
    /// Makes a helper. It ends by itself if the caller dies before [`MapHelper::release`].
    pub(crate) fn start(task: &MapTask) -> Result<Self, Errno> {
        let (wait, go) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        let (errors, stderr) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        let go_number = go.as_raw_fd();
        let child = || {
            raw::reset_signals();
            // The copy of the writing end would keep the pipe open when the caller is gone.
            raw::close(go_number);
            let _ = raw::duplicate_onto(stderr.as_fd(), 2);
            let mut word = [0];
            match rustix::io::read(&wait, &mut word) {
                Ok(1) => {}
                _ => raw::exit(1),
            }
            match task {
                MapTask::Execute { program, argv, env } => {
                    raw::execute(program, argv, env);
                    raw::exit(127)
                }
                MapTask::Write { file, text } => raw::exit(write(file, text)),
            }
        };
        // SAFETY: the child makes system calls only.
        let pidfd = fork::without_signals(|| unsafe { fork::clone_and(0, None, child) })?;
        Ok(Self { go, errors, pidfd })
    }

    /// Tells the helper to go on.
    pub(crate) fn release(&self) -> Result<(), Errno> {
        rustix::io::write(&self.go, b"g").map(drop)
    }

    /// Waits for its end.
    pub(crate) fn finish(self) -> Result<MapHelperEnd, Errno> {
        drop(self.go);
        let mut message = String::new();
        let status: Option<WaitIdStatus> = rustix::io::retry_on_intr(|| {
            rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED)
        })?;
        // If the message cannot be read, the exit code says enough.
        let _ = File::from(self.errors).read_to_string(&mut message);
        Ok(MapHelperEnd {
            code: status
                .and_then(|status| status.exit_status())
                .unwrap_or(255),
            message: message.trim().to_owned(),
        })
    }
}

fn write(file: &CString, text: &CString) -> i32 {
    use rustix::fs::{Mode, OFlags};
    let result = rustix::fs::open(
        file.as_c_str(),
        OFlags::WRONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .and_then(|file| rustix::io::write(&file, text.as_bytes()));
    match result {
        Ok(_) => 0,
        Err(error) => error.raw_os_error(),
    }
}
