//! The power goes while kiln works, or soon after it said that it is done.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use kiln_testbed::Skip;

use super::{hold, side_by_side};
use crate::chance::Chance;
use crate::disk::Disk;
use crate::machine::{Machine, StatePlace};
use crate::world::World;
use crate::{Bounds, Scenario, Tally};

/// Mebibytes of the disk: what some dozen trials leave.
const DISK_MEBIBYTES: u64 = 1024;

/// The longest time from success to the cut. Names are written each second, contents later.
const LONGEST_WAIT: u64 = 2500;

/// How long a command may go on that lost its disk.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct PowerLoss;

impl Scenario for PowerLoss {
    fn name(&self) -> &'static str {
        "power-loss"
    }

    fn share(&self) -> u32 {
        4
    }

    fn run(&self, kiln: &Path, bounds: &Bounds) -> Result<Tally, Skip> {
        side_by_side(bounds, |_, bounds| {
            let world = World::new(kiln)?;
            let place = |_| {
                Ok(StatePlace::Disk(Disk::new(
                    &world.kiln.scratch,
                    DISK_MEBIBYTES,
                )?))
            };
            hold(&world, bounds, place, trial)
        })
    }
}

/// Cuts the power while a command runs, or after its end, and compares.
fn trial(machine: &mut Machine<'_>, chance: &mut Chance) -> Result<(), String> {
    let (action, mut command) = machine.action(chance).map_err(|skip| skip.to_string())?;
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .stdin(Stdio::null());
    let mut child = command.spawn().expect("it ran before");
    let is_after = chance.below(3) == 0;
    let mut wait = Duration::from_millis(chance.below(700));
    if is_after {
        // Its success is what is put to the test.
        let _ = child.wait();
        wait = Duration::from_millis(chance.below(LONGEST_WAIT));
    }
    std::thread::sleep(wait);
    let mut is_done = false;
    let StatePlace::Disk(disk) = &machine.place else {
        unreachable!("the scenario made it");
    };
    disk.lose_power(|| is_done = end(&mut child));
    let described = format!(
        "{action:?}, cut {} ms after its {}, which {}",
        wait.as_millis(),
        if is_after { "end" } else { "beginning" },
        if is_done { "was a success" } else { "was none" },
    );
    if is_done {
        machine.promise(&action);
    }
    machine
        .compare(chance, (!is_done).then_some(&action))
        .map_err(|failure| format!("{described}: {failure}"))
}

/// Waits for a command that lost its disk, and says whether it had said that it was done.
fn end(child: &mut Child) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) => std::thread::sleep(Duration::from_millis(10)),
            Err(_) => break,
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    false
}
