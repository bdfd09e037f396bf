//! Which descriptors are still open when a path of the image is looked up for the first time.
//!
//! A descriptor of kiln's that refers to something of the host is a way out of the sandbox: an
//! image may name `/proc/self/fd/8/../..` as a working directory or a program. So before that
//! all are closed but the streams and two that refer to nothing of the host, at known numbers.

use std::mem::{ManuallyDrop, MaybeUninit};
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use super::step::{During as _, Step};
use crate::sys::descriptors::close_from;
use crate::sys::launcher::REPORT;
use crate::sys::program::ProcessSetup;
use crate::sys::raw;
use crate::sys::report::{Record, SetupStage};

/// Where the launcher is.
pub(super) const LAUNCHER: i32 = REPORT + 1;

/// Descriptors that are out of the way of those two numbers.
pub(super) struct Moved {
    launcher: ManuallyDrop<OwnedFd>,
    proc: ManuallyDrop<OwnedFd>,
}

/// Puts the socket for reports where [`report`] and the launcher find it.
pub(super) fn move_report(program: &ProcessSetup<'_>) -> Step<Moved> {
    let again = |descriptor| {
        let copy = rustix::io::fcntl_dupfd_cloexec(descriptor, LAUNCHER + 1);
        copy.map(ManuallyDrop::new)
            .during(SetupStage::CloseDescriptors, 0)
    };
    let report = again(program.report)?;
    let moved = Moved {
        launcher: again(program.launcher)?,
        proc: again(program.proc)?,
    };
    raw::duplicate_onto(report.as_fd(), REPORT).during(SetupStage::CloseDescriptors, 0)?;
    Ok(moved)
}

/// Closes everything but the streams, the socket for reports and the launcher.
pub(super) fn close_others(moved: &Moved) -> Step<()> {
    raw::move_onto(moved.launcher.as_fd(), LAUNCHER)
        .and_then(|()| close_from(LAUNCHER + 1, moved.proc.as_fd()))
        .during(SetupStage::CloseDescriptors, 0)
}

/// Sends something to kiln, once the socket was moved.
pub(super) fn report(bytes: &[u8]) {
    raw::write_to(REPORT, bytes);
}

/// Gives a descriptor to kiln and keeps none: its holder decides about calls of this process, so the
/// program must not find it.
pub(super) fn hand_over(listener: i32) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [raw::borrow(listener)];
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    let record = Record::listening().to_bytes();
    let bytes = [std::io::IoSlice::new(&record)];
    // If this fails, kiln does not answer, and the kernel lets the calls fail.
    let _ = rustix::net::sendmsg(
        raw::borrow(REPORT),
        &bytes,
        &mut ancillary,
        SendFlags::empty(),
    );
    raw::close(listener);
}
