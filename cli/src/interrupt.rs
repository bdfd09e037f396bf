//! Ctrl-C: the first asks the work to stop, the second does not ask.

use std::sync::Arc;
use std::thread;

use kiln_engine::Engine;
use kiln_runtime::Cancel;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::failure::Failure;

/// Turns SIGINT and SIGTERM into the returned switch, and ends transfers of `engine`.
///
/// Starts a thread; namespaces must have been entered before.
pub(crate) fn watch(engine: &Arc<Engine>) -> Result<Cancel, Failure> {
    let cancel = Cancel::new()
        .map_err(|error| Failure::new(format!("cannot prepare for signals: {error}")))?;
    let mut signals = Signals::new([SIGINT, SIGTERM])
        .map_err(|error| Failure::new(format!("cannot prepare for signals: {error}")))?;
    // Not the engine itself: this thread outlives it, and unfinished work goes with it.
    let (switch, engine) = (cancel.clone(), Arc::downgrade(engine));
    let wait = move || {
        let mut asked = false;
        for signal in signals.forever() {
            if asked {
                // Whatever is still mounted or running vanishes with this process.
                #[expect(clippy::exit, reason = "asked to end twice")]
                std::process::exit(128 + signal);
            }
            asked = true;
            switch.trigger();
            if let Some(engine) = engine.upgrade() {
                engine.cancel_transfers();
            }
        }
    };
    let waiting = thread::Builder::new().spawn(wait);
    waiting.map_err(|error| {
        let error = kiln_cache::cannot_start(error);
        Failure::new(format!("cannot prepare for signals: {error}"))
    })?;
    Ok(cancel)
}
