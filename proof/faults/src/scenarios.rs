mod full_disk; // of bytes, or of files
mod kill; // the end of kiln, at any moment
mod power_loss; // the disk loses what is not on it
mod system_call; // one of them fails

use std::process::{Command, Output};

use kiln_testbed::Skip;

use crate::chance::Chance;
use crate::machine::{Machine, StatePlace};
use crate::world::{World, told};
use crate::{Bounds, Scenario, Tally};

/// Trials with one state directory, so that those of all ages are hit.
const TRIALS_PER_PLACE: u32 = 12;

/// How many hold trials at the same time, each in a world of its own: most of a trial is waiting.
const SIDES: u32 = 2;

/// Fewer trials are not worth another world.
const TRIALS_FOR_A_WORLD: u32 = 20;

/// Returns every kind of fault.
pub fn all() -> Vec<Box<dyn Scenario>> {
    vec![
        Box::new(power_loss::PowerLoss),
        Box::new(kill::Kill),
        Box::new(full_disk::FullDisk),
        Box::new(system_call::SystemCall),
    ]
}

/// Which trials one thread holds of those that several hold side by side.
#[derive(Clone, Copy, Debug)]
struct Part {
    number: usize,
    of: usize,
}

/// Divides trials among some that hold theirs at the same time.
fn side_by_side(
    bounds: &Bounds,
    run: impl Fn(Part, &Bounds) -> Result<Tally, Skip> + Sync,
) -> Result<Tally, Skip> {
    let sides = SIDES.min(bounds.trials / TRIALS_FOR_A_WORLD).max(1);
    let tallies: Vec<_> = std::thread::scope(|scope| {
        let start = |number: u32| {
            let part = Part {
                number: number as usize,
                of: sides as usize,
            };
            let bounds = Bounds {
                trials: (bounds.trials + number) / sides,
                time: bounds.time,
                // A thread that is given it alone does the same.
                seed: bounds.seed.wrapping_add(u64::from(number) << 32),
            };
            let run = &run;
            scope.spawn(move || run(part, &bounds))
        };
        let sides: Vec<_> = (0..sides).map(start).collect();
        let join = |side: std::thread::ScopedJoinHandle<'_, _>| side.join().expect("it reports");
        sides.into_iter().map(join).collect()
    });
    let mut all = Tally::default();
    for tally in tallies {
        let tally: Tally = tally?;
        all.trials += tally.trials;
        all.failures.extend(tally.failures);
    }
    Ok(all)
}

/// Holds trials, with a new place from time to time and after each failure: what is wrong there would
/// be found again and again.
fn hold(
    world: &World,
    bounds: &Bounds,
    place: impl Fn(u32) -> Result<StatePlace, Skip>,
    trial: impl Fn(&mut Machine<'_>, &mut Chance) -> Result<(), String>,
) -> Result<Tally, Skip> {
    let mut chance = Chance::new(bounds.seed);
    let mut tally = Tally::default();
    let mut machine = Machine::at(world, place(0)?);
    for number in bounds.trials() {
        if machine.trials == TRIALS_PER_PLACE {
            machine = Machine::at(world, place(number)?);
        }
        tally.trials += 1;
        machine.trials += 1;
        let held = machine
            .warm_up(&mut chance)
            .and_then(|()| trial(&mut machine, &mut chance));
        if let Err(failure) = held {
            let failure = format!("trial {number} (seed {}): {failure}", bounds.seed);
            tally.failures.push(failure);
            machine = Machine::at(world, place(number + 1)?);
        }
    }
    Ok(tally)
}

/// Checks that a command ended as one does that met a fault: with success, or saying why not. Says
/// which it was.
fn is_orderly(command: &Command, output: &Output) -> Result<bool, String> {
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(0) => Ok(true),
        // A panic ends a program with 101, or with a signal where it aborts.
        Some(101) | None => Err(told(command, output)),
        Some(_) if said.contains("panicked") || said.trim().is_empty() => {
            Err(told(command, output))
        }
        Some(_) => Ok(false),
    }
}
