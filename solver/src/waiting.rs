//! Waiting for another kiln that runs the same step.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;

use kiln_cache::{Claim, ClaimAttempt, LockWait};
use kiln_threads::Stop;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

use crate::step_error::StepError;

/// Waits for another kiln that runs the same step; gives up when cancelled.
///
/// The kernel cannot wait for a lock and an event at once, so a thread waits for the lock. One
/// that is left behind by a cancelled build ends with the process.
pub(crate) fn wait(lock: LockWait, stop: &Stop) -> Result<Claim, StepError> {
    let done =
        Arc::new(eventfd(0, EventfdFlags::CLOEXEC).map_err(|error| StepError::Disk(error.into()))?);
    let signal = done.clone();
    let (sender, receiver) = sync_channel(1);
    let (give, given) = sync_channel::<LockWait>(1);
    let thread = thread::Builder::new().spawn(move || {
        let Ok(lock) = given.recv() else {
            return;
        };
        // A cancelled build listens no more; then the claim is dropped again.
        let _ = sender.send(lock.wait());
        let _ = rustix::io::write(&*signal, &1_u64.to_ne_bytes());
    });
    if thread.is_err() {
        return wait_alone(lock, stop);
    }
    // The thread has started and takes the lock to wait for.
    let _ = give.send(lock);
    loop {
        let mut events = [
            PollFd::new(&*done, PollFlags::IN),
            PollFd::from_borrowed_fd(stop.pollable().map_err(StepError::Disk)?, PollFlags::IN),
        ];
        match poll(&mut events, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(StepError::Disk(error.into())),
        }
        if stop.is_asked() {
            return Err(StepError::Cancelled);
        }
        if let Ok(claim) = receiver.try_recv() {
            return claim.map_err(StepError::Disk);
        }
    }
}

/// The same where no thread can be started: asks for the lock every 50 ms.
fn wait_alone(mut lock: LockWait, stop: &Stop) -> Result<Claim, StepError> {
    let pause = Timespec {
        tv_sec: 0,
        tv_nsec: 50_000_000,
    };
    loop {
        lock = match lock.poll().map_err(StepError::Disk)? {
            ClaimAttempt::Claimed(claim) => return Ok(claim),
            ClaimAttempt::Busy(lock) => lock,
        };
        match poll(
            &mut [PollFd::from_borrowed_fd(
                stop.pollable().map_err(StepError::Disk)?,
                PollFlags::IN,
            )],
            Some(&pause),
        ) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(StepError::Disk(error.into())),
        }
        if stop.is_asked() {
            return Err(StepError::Cancelled);
        }
    }
}
