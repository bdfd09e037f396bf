//! What a new process does before it becomes the user's program.
//!
//! Everything here runs in a copy of a process that had threads: system calls on prepared data
//! and nothing else. No allocation, no lock, no panic.
//!
//! First come the mounts, made with descriptors that kiln opened. Then all of those are closed, and
//! only then paths of the image are looked up: the working directory, the program.

mod descriptors; // what stays open
mod execute; // becoming the program
mod place; // finding and making places in the root
mod privileges; // giving up what the program must not have
mod step; // the result of a step, and which one it was
mod tree; // the mounts the program sees

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::thread::UnshareFlags;

use self::descriptors::Moved;
use self::step::{During as _, Step};
pub(super) use self::tree::new_proc;
use super::program::ProcessSetup;
use super::raw;
use super::report::SetupStage;

/// Runs the program in the process that was just cloned.
pub(super) fn run(program: &ProcessSetup<'_>) {
    let moved = match prepare(program).and_then(|()| descriptors::move_report(program)) {
        Ok(moved) => moved,
        Err(record) => {
            // If this fails, kiln sees that the process has ended.
            let _ = rustix::io::write(program.report, &record.to_bytes());
            return;
        }
    };
    match enter(program, &moved) {
        Ok(()) => execute::execute(program),
        Err(record) => descriptors::report(&record.to_bytes()),
    }
}

/// Makes the sandbox of the program.
fn prepare(program: &ProcessSetup<'_>) -> Step<()> {
    for (index, procs) in program.cgroups.iter().enumerate() {
        rustix::io::write(procs, b"0").during(SetupStage::JoinCgroup, index)?;
    }
    raw::reset_signals();
    rustix::process::setsid().during(SetupStage::Session, 0)?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    for (index, stream) in program.streams.iter().enumerate() {
        raw::duplicate_onto(*stream, index as i32).during(SetupStage::StandardStream, index)?;
    }
    if program.controlling_terminal {
        raw::take_terminal().during(SetupStage::Terminal, 0)?;
    }
    if program.unshare_cgroup {
        raw::unshare(UnshareFlags::NEWCGROUP).during(SetupStage::CgroupNamespace, 0)?;
    }
    if program.loopback {
        raw::start_loopback().during(SetupStage::Loopback, 0)?;
    }
    tree::enter_root(program)?;
    rustix::system::sethostname(program.hostname).during(SetupStage::Hostname, 0)?;
    if program.waits_for_go {
        wait_for_go(program).during(SetupStage::Go, 0)?;
    }
    Ok(())
}

/// Waits for kiln, which is putting something into the new namespaces. If kiln gives that up, it
/// kills this process; if kiln ends, the keeper does.
fn wait_for_go(program: &ProcessSetup<'_>) -> Result<(), Errno> {
    let mut go = [0];
    match rustix::io::retry_on_intr(|| rustix::io::read(program.report, &mut go))? {
        0 => Err(Errno::CANCELED),
        _ => Ok(()),
    }
}

/// Leaves the process with nothing of kiln's, in its directory, as its user.
fn enter(program: &ProcessSetup<'_>, moved: &Moved) -> Step<()> {
    descriptors::close_others(moved)?;
    for (index, (resource, limit)) in program.limits.iter().enumerate() {
        rustix::process::setrlimit(*resource, *limit).during(SetupStage::Limit, index)?;
    }
    // As runc does it (libcontainer/init_linux.go, finalizeNamespace): root enters, and makes, what
    // the user may not, and the user may enter what root may not, on a file system of its own.
    let place = program.cwd;
    let entered = match place::enter_directory(place) {
        Err(Errno::ACCESS | Errno::PERM) => false,
        other => other
            .map(|()| true)
            .during(SetupStage::WorkingDirectory, 0)?,
    };
    privileges::reduce(program)?;
    if !entered {
        place::enter_directory(place).during(SetupStage::WorkingDirectory, 0)?;
    }
    match raw::is_inside() {
        Ok(true) => Ok(()),
        Ok(false) => Err(Errno::XDEV).during(SetupStage::WorkingDirectory, 0),
        Err(errno) => Err(errno).during(SetupStage::WorkingDirectory, 0),
    }
}
