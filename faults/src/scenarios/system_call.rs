//! One system call fails.

use std::path::Path;

use kiln_testbed::{Skip, Tool};

use super::{hold, is_orderly};
use crate::chance::Chance;
use crate::machine::{Machine, Place};
use crate::world::World;
use crate::{Bounds, Scenario, Tally};

/// Calls that store something or make room for it, and errors that they have.
const CALLS: [(&str, &[&str]); 16] = [
    ("openat", &["EMFILE", "ENOSPC", "EACCES", "EIO"]),
    ("write", &["ENOSPC", "EIO"]),
    ("read", &["EIO"]),
    ("pread64", &["EIO"]),
    ("copy_file_range", &["ENOSPC", "EIO", "EXDEV"]),
    ("mkdir", &["ENOSPC", "EMLINK", "EIO"]),
    ("rename", &["ENOSPC", "EIO"]),
    ("linkat", &["EMLINK", "EPERM"]),
    ("unlink", &["EIO"]),
    ("fsync", &["EIO"]),
    ("fdatasync", &["EIO"]),
    ("syncfs", &["EIO"]),
    ("flock", &["ENOLCK"]),
    ("ftruncate", &["EIO"]),
    ("clone3", &["EAGAIN"]),
    ("mmap", &["ENOMEM"]),
];

#[derive(Debug)]
pub(crate) struct SystemCall;

impl Scenario for SystemCall {
    fn name(&self) -> &'static str {
        "system-call"
    }

    fn run(&self, kiln: &Path, bounds: &Bounds) -> Result<Tally, Skip> {
        let strace = Tool::find("strace")?;
        let world = World::new(kiln)?;
        let place = |number| {
            let name = format!("state-{number}");
            Ok(Place::Directory(world.scratch.join(name)))
        };
        hold(&world, bounds, place, |machine, chance| {
            trial(machine, chance, &strace)
        })
    }
}

fn trial(machine: &mut Machine<'_>, chance: &mut Chance, strace: &Tool) -> Result<(), String> {
    let (action, command) = machine.action(chance).map_err(|skip| skip.to_string())?;
    let (call, errors) = chance.one_of(&CALLS);
    let error = chance.one_of(errors);
    // Early ones are where most ways part.
    let most = chance.one_of(&[3, 10, 30, 100]);
    let when = 1 + chance.below(most);
    let fault = format!("inject={call}:error={error}:when={when}");
    let mut traced = strace.command();
    traced
        .args([
            "-f",
            "-qqq",
            "--seccomp-bpf",
            "-o",
            "/dev/null",
            "-e",
            &format!("trace={call}"),
        ])
        .args(["-e", &fault])
        .arg(command.get_program())
        .args(command.get_args())
        .envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
    if let Some(directory) = command.get_current_dir() {
        traced.current_dir(directory);
    }
    let described = |failure: String| format!("{action:?} with {fault}: {failure}");
    let output = traced.output().map_err(|error| error.to_string())?;
    let is_done = is_orderly(&traced, &output).map_err(described)?;
    if is_done {
        machine.promise(&action);
    }
    machine
        .compare(chance, (!is_done).then_some(&action))
        .map_err(described)
}
