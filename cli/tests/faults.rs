//! Faults of the machine let loose on the kiln under test: a few of each kind; `make faults` lets
//! loose more.

use std::path::Path;
use std::time::Duration;

use kiln_faults::{Bounds, all};

/// Lets some faults of one kind loose.
fn hold(name: &str, trials: u32) {
    let kiln = Path::new(env!("CARGO_BIN_EXE_kiln"));
    let bounds = Bounds {
        trials,
        time: Duration::from_secs(45),
        seed: 1,
    };
    let scenario = all().into_iter().find(|scenario| scenario.name() == name);
    match scenario.expect("there is one").run(kiln, &bounds) {
        Ok(tally) => assert!(tally.failures.is_empty(), "{name}: {tally}"),
        Err(skip) => skip.announce(),
    }
}

#[test]
fn promises_hold_after_power_is_lost() {
    hold("power-loss", 6);
}

#[test]
fn promises_hold_after_kiln_is_killed() {
    hold("kill", 4);
}

#[test]
fn promises_hold_after_the_disk_was_full() {
    hold("full-disk", 4);
}

#[test]
fn promises_hold_after_a_system_call_failed() {
    hold("system-call", 4);
}
