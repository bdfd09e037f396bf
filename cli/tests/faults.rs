//! Faults of the machine let loose on the kiln under test: a few of each kind; `make faults` lets
//! loose more.

use std::path::Path;
use std::time::Duration;

use kiln_faults::{Bounds, all};

/// Trials of each kind.
const TRIALS: u32 = 6;

#[test]
fn what_was_promised_holds_after_faults() {
    let kiln = Path::new(env!("CARGO_BIN_EXE_kiln"));
    for scenario in all() {
        let bounds = Bounds {
            trials: TRIALS,
            time: Duration::from_secs(60),
            seed: 1,
        };
        match scenario.run(kiln, &bounds) {
            Ok(tally) => assert!(tally.failures.is_empty(), "{}: {tally}", scenario.name()),
            Err(skip) => skip.announce(),
        }
    }
}
