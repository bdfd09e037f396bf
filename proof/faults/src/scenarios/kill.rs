//! kiln is killed while it works.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use kiln_testbed::Skip;

use super::hold;
use crate::chance::Chance;
use crate::machine::{Machine, StatePlace};
use crate::world::World;
use crate::{Bounds, Scenario, Tally};

#[derive(Debug)]
pub(crate) struct Kill;

impl Scenario for Kill {
    fn name(&self) -> &'static str {
        "kill"
    }

    fn run(&self, kiln: &Path, bounds: &Bounds) -> Result<Tally, Skip> {
        let world = World::new(kiln)?;
        let place = |number| {
            let name = format!("state-{number}");
            Ok(StatePlace::Directory(world.kiln.scratch.join(name)))
        };
        hold(&world, bounds, place, trial)
    }
}

fn trial(machine: &mut Machine<'_>, chance: &mut Chance) -> Result<(), String> {
    let (action, mut command) = machine.action(chance).map_err(|skip| skip.to_string())?;
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .stdin(Stdio::null());
    let mut child = command.spawn().expect("it ran before");
    let wait = Duration::from_millis(chance.below(600));
    std::thread::sleep(wait);
    // One that was faster is over, and that is as good a moment as any.
    let _ = child.kill();
    let is_done = child.wait().is_ok_and(|status| status.success());
    if is_done {
        machine.promise(&action);
    }
    machine
        .compare(chance, (!is_done).then_some(&action))
        .map_err(|failure| {
            format!(
                "{action:?}, killed after {} ms: {failure}",
                wait.as_millis()
            )
        })
}
