//! The disk is full: of bytes, or of files.

use std::path::Path;
use std::process::{Command, Output};

use kiln_testbed::Skip;

use super::{hold, is_orderly};
use crate::chance::Chance;
use crate::disk::Disk;
use crate::machine::{Machine, StatePlace};
use crate::world::{World, must_succeed, told};
use crate::{Bounds, Scenario, Tally};

/// Mebibytes of the disk: filled in no time.
const DISK_MEBIBYTES: u64 = 96;

/// Leaves $2 kibibytes of the disk $1.
const FILL_BYTES: &str = "cat /dev/zero > \"$1/ballast\" 2>/dev/null; sync -f \"$1\"; \
    cat /dev/zero >> \"$1/ballast\" 2>/dev/null; truncate -s -$2K \"$1/ballast\"";

/// Leaves $2 files of the disk $1.
const FILL_FILES: &str = "mkdir -p \"$1/files\"; i=0; \
    while true > \"$1/files/$i\"; do i=$((i+1)); done 2>/dev/null; \
    while [ $2 -gt 0 ]; do i=$((i-1)); rm -f \"$1/files/$i\"; set -- \"$1\" $(($2-1)); done";

/// Gives everything back.
const EMPTY: &str = "rm -rf \"$1/ballast\" \"$1/files\"";

#[derive(Debug)]
pub(crate) struct FullDisk;

impl Scenario for FullDisk {
    fn name(&self) -> &'static str {
        "full-disk"
    }

    fn run(&self, kiln: &Path, bounds: &Bounds) -> Result<Tally, Skip> {
        let world = World::new(kiln)?;
        let place = |_| {
            Ok(StatePlace::Disk(Disk::new(
                &world.kiln.scratch,
                DISK_MEBIBYTES,
            )?))
        };
        hold(&world, bounds, place, trial)
    }
}

/// Runs a command while little is left, then cleans up while nothing is, and compares when there is
/// room again.
fn trial(machine: &mut Machine<'_>, chance: &mut Chance) -> Result<(), String> {
    let (script, most) = match chance.below(3) {
        0 => (FILL_FILES, 60),
        _ => (FILL_BYTES, 6000),
    };
    let left = chance.below(most);
    shell(machine, script, left)?;
    let (action, mut command) = machine.action(chance).map_err(|skip| skip.to_string())?;
    let output = command.output().map_err(|error| error.to_string())?;
    let described = |failure: String| format!("{action:?} with {left} left: {failure}");
    let is_done = is_orderly(&command, &output).map_err(described)?;
    shell(machine, script, 0)?;
    if is_done {
        machine.promise(&action);
    }
    clean_up(machine, chance).map_err(described)?;
    shell(machine, EMPTY, 0)?;
    machine
        .compare(chance, (!is_done).then_some(&action))
        .map_err(described)
}

/// Does what a user does whose disk is full: each of it works without a byte and without a file.
fn clean_up(machine: &mut Machine<'_>, chance: &mut Chance) -> Result<(), String> {
    for arguments in [
        &["images"][..],
        &["ps", "--all"],
        &["cache", "du"],
        &["cache", "verify"],
    ] {
        must_succeed(machine.kiln().args(arguments))?;
    }
    let containers = must_succeed(machine.kiln().args(["ps", "--all", "--quiet"]))?;
    if let Some(container) = containers.lines().next() {
        must_succeed(machine.kiln().args(["rm", "--force", container]))?;
    }
    if let Some(name) = chance.any(machine.promises.images.keys()).cloned() {
        must_succeed(machine.kiln().args(["rmi", "--force", &name]))?;
        machine.promises.images.remove(&name);
    }
    must_succeed(
        machine
            .kiln()
            .args(["builder", "prune", "--all", "--force"]),
    )?;
    // Of images it takes only those without a name, and all containers.
    must_succeed(machine.kiln().args(["system", "prune", "--force"]))?;
    machine.promises.containers.clear();
    Ok(())
}

fn shell(machine: &Machine<'_>, script: &str, left: u64) -> Result<(), String> {
    let StatePlace::Disk(disk) = &machine.place else {
        unreachable!("the scenario made it");
    };
    let mut command: Command = disk.inside(Path::new("/bin/sh"));
    command
        .args(["-c", script, "sh"])
        .arg(disk.path())
        .arg(left.to_string());
    let output: Output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(())
    } else {
        Err(told(&command, &output))
    }
}
