//! One at a time: of several kilns, or threads of one, that want the same from a server, one asks
//! while the others wait, and find what it left.

use kiln_cache::{ActionKey, Claim, ClaimAttempt, Store, claim};
use kiln_solver::RemoteError;
use kiln_threads::Stop;
use kiln_tree::Encoder;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::remote_sources::sources::{cancelled, local};

/// How often those who wait look.
const PATIENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};

/// Waits for the turn to deal with `name`; it ends when the claim is dropped.
pub(super) fn take(
    store: &Store,
    kind: &str,
    name: &str,
    stop: &Stop,
) -> Result<Claim, RemoteError> {
    let mut encoder = Encoder::new("kiln.turn.1");
    let key = ActionKey(encoder.text(kind).text(name).finish());
    let failed = || local("cannot lock the state directory");
    let mut attempt = claim(store, key).map_err(failed())?;
    loop {
        match attempt {
            ClaimAttempt::Claimed(claim) => return Ok(claim),
            ClaimAttempt::Busy(lock) => {
                // poll(2) does not tell when a lock becomes free, so this thread looks again and
                // again, and waits for the wish to stop meanwhile.
                let asked = stop.pollable().map_err(failed())?;
                let mut events = [PollFd::from_borrowed_fd(asked, PollFlags::IN)];
                let _ = poll(&mut events, Some(&PATIENCE));
                if stop.is_asked() {
                    return Err(cancelled());
                }
                attempt = lock.poll().map_err(failed())?;
            }
        }
    }
}
