//! What a new process does before it becomes the user's program.
//!
//! Everything here runs in a copy of a process that had threads: system calls on prepared data
//! and nothing else. No allocation, no lock, no panic; descriptors are never closed one by one,
//! since `execve` closes them all.

mod execute; // becoming the program
mod place; // finding and making places in the root
mod privileges; // giving up what the program must not have
mod tree; // the mounts the program sees

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::thread::UnshareFlags;
use std::mem::ManuallyDrop;

use super::program::Program;
use super::raw;
use super::report::{HEAD_BYTES, Record, Stage};

type Step<T> = Result<T, Record>;

/// Names the step an error belongs to.
trait During<T> {
    fn during(self, stage: Stage, index: usize) -> Step<T>;
}

impl<T> During<T> for Result<T, Errno> {
    fn during(self, stage: Stage, index: usize) -> Step<T> {
        self.map_err(|errno| Record::failure(stage, index, errno))
    }
}

/// Runs the program in the process that was just cloned.
pub(super) fn run(program: &Program<'_>) {
    let record = match prepare(program) {
        Ok(()) => execute::execute(program),
        Err(record) => record,
    };
    report(program, record);
    if record.stage == Stage::Execute {
        send_head(program, record.index);
    }
}

/// Sends the beginning of a file that could not be executed, for its reader to find out why.
fn send_head(program: &Program<'_>, candidate: u32) {
    let mut head = [0_u8; HEAD_BYTES as usize];
    let Some(path) = program.candidates.get(candidate as usize) else {
        return;
    };
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let length = file.and_then(|file| rustix::io::read(&*ManuallyDrop::new(file), &mut head));
    if let Ok(length) = length {
        // Without it, the kernel's answer has to do.
        let _ = rustix::io::write(program.report, head.get(..length).unwrap_or(&[]));
    }
}

fn report(program: &Program<'_>, record: Record) {
    // Nobody is left to tell if this fails.
    let _ = rustix::io::write(program.report, &record.to_bytes());
}

fn prepare(program: &Program<'_>) -> Step<()> {
    for (index, procs) in program.cgroups.iter().enumerate() {
        rustix::io::write(procs, b"0").during(Stage::JoinCgroup, index)?;
    }
    raw::reset_signals();
    rustix::process::setsid().during(Stage::Session, 0)?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    for (index, stream) in program.streams.iter().enumerate() {
        raw::duplicate_onto(*stream, index as i32).during(Stage::StandardStream, index)?;
    }
    if program.controlling_terminal {
        raw::take_terminal().during(Stage::Terminal, 0)?;
    }
    if program.unshare_cgroup {
        raw::unshare(UnshareFlags::NEWCGROUP).during(Stage::CgroupNamespace, 0)?;
    }
    if program.loopback {
        raw::start_loopback().during(Stage::Loopback, 0)?;
    }
    tree::enter_root(program)?;
    rustix::system::sethostname(program.hostname).during(Stage::Hostname, 0)?;
    for (index, (resource, limit)) in program.limits.iter().enumerate() {
        rustix::process::setrlimit(*resource, *limit).during(Stage::Limit, index)?;
    }
    place::enter_working_directory(program.cwd)?;
    privileges::give_up(program)?;
    match raw::close_on_exec_from(3) {
        // Linux before 5.11: descriptors inherited from kiln's own caller stay open.
        Ok(()) | Err(Errno::INVAL | Errno::NOSYS) => Ok(()),
        Err(errno) => Err(errno).during(Stage::CloseDescriptors, 0),
    }
}
