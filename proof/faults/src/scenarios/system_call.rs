//! One system call fails, each in its turn.
//!
//! A *sweep* is something that kiln is asked for, always in the same state. First it runs
//! undisturbed, and its calls are counted; then it runs once for each call, which fails. When time is
//! short, not all come to pass: sweeps take turns, and each begins with one call of every kind.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_testbed::Skip;

use super::{Part, is_orderly, side_by_side};
use crate::action::{Action, Attendance, Cache, Form, remove_beside};
use crate::chance::Chance;
use crate::image::{Variant, Way};
use crate::machine::{Machine, StatePlace};
use crate::tracer::{self, CALLS, Fault};
use crate::world::{FOREIGN, Promises, World, must_succeed, told};
use crate::{Bounds, Scenario, Tally};

/// What the state has that all sweeps begin with.
const BUILT: Variant = Variant(1);
const NAME: &str = "app:0";
const CONTAINER: &str = "container-0";

/// What sweeps build.
const NEW: Variant = Variant(2);

/// One trial of so many is looked at as closely as those of other scenarios.
const CLOSELY: u64 = 8;

#[derive(Debug)]
pub(crate) struct SystemCall;

impl Scenario for SystemCall {
    fn name(&self) -> &'static str {
        "system-call"
    }

    fn share(&self) -> u32 {
        3
    }

    fn run(&self, kiln: &Path, bounds: &Bounds) -> Result<Tally, Skip> {
        side_by_side(bounds, |part, bounds| sweep(kiln, part, bounds))
    }
}

/// Lets the calls of some actions fail.
fn sweep(kiln: &Path, part: Part, bounds: &Bounds) -> Result<Tally, Skip> {
    let world = World::new(kiln)?;
    let mut chance = Chance::new(bounds.seed);
    let start = Start::new(&world)?;
    let own = actions().into_iter().skip(part.number).step_by(part.of);
    let mut sweeps: Vec<Sweep> = own.map(Sweep::of).collect();
    chance.shuffle(&mut sweeps);
    let mut tally = Tally::default();
    for number in bounds.trials() {
        sweeps.retain(|sweep| sweep.faults.as_ref().is_none_or(|left| !left.is_empty()));
        if sweeps.is_empty() {
            break;
        }
        let turn = number as usize % sweeps.len();
        let sweep = &mut sweeps[turn];
        if sweep.faults.is_none() {
            let mut faults = start.count(&sweep.action, &mut chance)?;
            // The first of its kind is not the only one that all sweeps look at.
            faults.reverse();
            sweep.faults = Some(faults);
        }
        let Some(fault) = sweep.faults.as_mut().and_then(Vec::pop) else {
            continue;
        };
        match start.trial(&sweep.action, fault, &mut chance) {
            Ok(is_hit) => tally.trials += u32::from(is_hit),
            Err(failure) => {
                tally.trials += 1;
                let failure = format!("trial {number} (seed {}): {failure}", bounds.seed);
                tally.failures.push(failure);
            }
        }
    }
    Ok(tally)
}

/// Returns what is swept.
fn actions() -> Vec<Action> {
    let build = |way| Action::Build {
        name: "app:1".to_owned(),
        variant: NEW,
        way,
    };
    let write = |form| Action::Write { variant: NEW, form };
    let export = |to| Action::Export { variant: NEW, to };
    let run = |attendance| Action::Run {
        name: NAME.to_owned(),
        container: "container-1".to_owned(),
        attendance,
    };
    vec![
        build(Way::Context),
        build(Way::Git),
        build(Way::GitContext),
        build(Way::Download),
        build(Way::CacheMount),
        write(Form::Oci),
        write(Form::Files),
        export(Cache::Directory),
        export(Cache::Registry),
        Action::Load(FOREIGN[0]),
        Action::Pull(FOREIGN[1]),
        Action::Save {
            name: NAME.to_owned(),
            variant: BUILT,
        },
        Action::Tag {
            from: NAME.to_owned(),
            to: "tagged:0".to_owned(),
        },
        // Each trial pushes to a repository of its own, which has nothing yet.
        Action::Push(String::new()),
        run(Attendance::Foreground),
        run(Attendance::Background),
        Action::RemoveContainer(CONTAINER.to_owned()),
        Action::Remove("app:spare".to_owned()),
        Action::Prune,
    ]
}

/// An action, and what is still to fail under it: nothing is known before its calls are counted.
#[derive(Debug)]
struct Sweep {
    action: Action,
    faults: Option<Vec<Fault>>,
}

impl Sweep {
    fn of(action: Action) -> Self {
        Self {
            action,
            faults: None,
        }
    }
}

/// The state that each trial begins with.
struct Start<'a> {
    world: &'a World,
    directory: PathBuf,
    promises: Promises,
}

impl<'a> Start<'a> {
    fn new(world: &'a World) -> Result<Self, Skip> {
        let directory = world.kiln.scratch.join("start");
        let mut machine = Machine::at(world, StatePlace::Directory(directory.clone()));
        let build = Action::Build {
            name: NAME.to_owned(),
            variant: BUILT,
            way: Way::Context,
        };
        let tag = Action::Tag {
            from: NAME.to_owned(),
            to: "app:spare".to_owned(),
        };
        let run = Action::Run {
            name: NAME.to_owned(),
            container: CONTAINER.to_owned(),
            attendance: Attendance::Foreground,
        };
        for action in [build, tag, run] {
            let mut command = machine.kiln();
            action.add_to(&mut command, world, &directory)?;
            must_succeed(&mut command).map_err(Skip::because)?;
            machine.promise(&action);
        }
        Ok(Self {
            world,
            directory,
            promises: machine.promises,
        })
    }

    /// Returns a machine in that state, and the command that an action is.
    fn machine(
        &self,
        action: &Action,
        chance: &mut Chance,
    ) -> Result<(Machine<'a>, Action, Command), String> {
        let state = self.world.kiln.scratch.join("state");
        let _ = fs::remove_dir_all(&state);
        // What another action wrote is not promised here.
        remove_beside(&state);
        must_succeed(
            Command::new("cp")
                .arg("-a")
                .arg(&self.directory)
                .arg(&state),
        )?;
        let mut machine = Machine::at(self.world, StatePlace::Directory(state.clone()));
        machine.promises = self.promises.clone();
        machine.number = NEW.0;
        let mut action = action.clone();
        if let Action::Push(name) = &mut action {
            *name = self.world.fresh_name(chance.next());
            must_succeed(machine.kiln().args(["tag", NAME, name]))?;
        }
        let mut command = machine.kiln();
        let said = action.add_to(&mut command, self.world, &state);
        said.map_err(|skip| skip.to_string())?;
        Ok((machine, action, command))
    }

    /// Runs an action undisturbed, and returns what can fail of it, one after the other: one call of
    /// each kind, then another of each, far from those before.
    fn count(&self, action: &Action, chance: &mut Chance) -> Result<Vec<Fault>, Skip> {
        let (_, _, command) = self.machine(action, chance).map_err(Skip::because)?;
        let traced = tracer::run(&command, self.world.kiln.scratch.path(), None)?;
        if !traced.output.status.success() {
            let failure = told(&command, &traced.output);
            return Err(Skip::because(format!("traced and undisturbed, {failure}")));
        }
        let mut kinds: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (call, subjects) in &traced.calls {
            let mut positions = spread(subjects.len());
            let turned = chance.below(positions.len() as u64);
            positions.rotate_left(usize::try_from(turned).unwrap_or(0));
            kinds.insert(call, positions);
        }
        let rounds = kinds.values().map(Vec::len).max().unwrap_or(0);
        let mut faults = Vec::new();
        for round in 0..rounds {
            let mut calls: Vec<_> = CALLS.iter().collect();
            chance.shuffle(&mut calls);
            for call in calls {
                let positions = kinds.get(call.name);
                if let Some(&position) = positions.and_then(|positions| positions.get(round)) {
                    faults.push(Fault {
                        call: call.name,
                        position,
                        error: chance.one_of(call.errors),
                    });
                }
            }
        }
        Ok(faults)
    }

    /// Lets a call fail and looks at what came of it. Says whether there was such a call this time.
    fn trial(&self, action: &Action, fault: Fault, chance: &mut Chance) -> Result<bool, String> {
        let (mut machine, action, command) = self.machine(action, chance)?;
        let scratch = self.world.kiln.scratch.path();
        let traced =
            tracer::run(&command, scratch, Some(fault)).map_err(|skip| skip.to_string())?;
        let Some(subject) = traced.hit else {
            return Ok(false);
        };
        let Fault {
            call,
            position,
            error,
        } = fault;
        let described = |failure: String| {
            format!("{action:?} with {error} from {call} {position} of {subject:?}: {failure}")
        };
        if traced.is_endless {
            return Err(described(format!(
                "no end: {}",
                told(&command, &traced.output)
            )));
        }
        let is_done = is_orderly(&command, &traced.output).map_err(described)?;
        self.compare(&mut machine, &action, is_done, chance)
            .map_err(described)?;
        Ok(true)
    }

    /// Compares the state with what was promised; without a fault, the same must succeed.
    fn compare(
        &self,
        machine: &mut Machine<'_>,
        action: &Action,
        is_done: bool,
        chance: &mut Chance,
    ) -> Result<(), String> {
        if is_done {
            machine.promise(action);
        }
        if chance.below(CLOSELY) == 0 {
            machine.compare(chance, (!is_done).then_some(action))?;
        }
        if !is_done && !is_there(machine, action)? {
            let mut command = machine.kiln();
            action
                .add_to(&mut command, self.world, &machine.place.root())
                .map_err(|skip| skip.to_string())?;
            must_succeed(&mut command)?;
            machine.promise(action);
        }
        machine.compare_written(None)?;
        machine.compare_images(None)?;
        if let Action::Push(name) = action {
            must_succeed(self.world.undisturbed().args(["pull", "-q", name]))?;
            let kiln = || self.world.undisturbed();
            self.world.compare(kiln, name, &[BUILT])?;
        }
        machine.verify((!is_done).then_some(action))
    }
}

/// Says whether a container is there, or gone, that was to be: the name is given once.
fn is_there(machine: &mut Machine<'_>, action: &Action) -> Result<bool, String> {
    let Some((name, after)) = action.container(&machine.promises) else {
        return Ok(false);
    };
    let format = ["--all", "--format", "{{.Names}}"];
    let listed = must_succeed(machine.kiln().arg("ps").args(format))?;
    let is_done = listed.lines().any(|line| line == name) == after.is_some();
    if is_done {
        machine.promise(action);
    }
    Ok(is_done)
}

/// Returns the numbers below `count`, each far from those shortly before: in the order of their bits
/// read backwards.
fn spread(count: usize) -> Vec<usize> {
    let bits = count.next_power_of_two().trailing_zeros();
    (0..1_usize << bits)
        .map(|number| match bits {
            0 => number,
            _ => number.reverse_bits() >> (usize::BITS - bits),
        })
        .filter(|&number| number < count)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn each_number_comes_once_and_far_from_the_one_before() {
        assert_eq!(spread(0), []);
        assert_eq!(spread(1), [0]);
        assert_eq!(spread(6), [0, 4, 2, 1, 5, 3]);
    }
}
