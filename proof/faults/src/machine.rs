//! A kiln that works and is disturbed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_testbed::Skip;

use crate::action::Action;
use crate::chance::Chance;
use crate::disk::Disk;
use crate::image::Variant;
use crate::world::{Promises, World, must_succeed};

/// Where a state directory is.
#[derive(Debug)]
pub(crate) enum StatePlace {
    /// On a disk of its own.
    Disk(Disk),
    /// In a directory of the disk that all use.
    Directory(PathBuf),
}

impl StatePlace {
    /// Returns a command that starts a program where the state directory is seen.
    pub(crate) fn command(&self, program: &Path) -> Command {
        match self {
            Self::Disk(disk) => disk.inside(program),
            Self::Directory(_) => Command::new(program),
        }
    }

    pub(crate) fn root(&self) -> PathBuf {
        match self {
            Self::Disk(disk) => disk.path().join("state"),
            Self::Directory(directory) => directory.clone(),
        }
    }
}

/// A kiln with a state directory, and what it promised.
pub(crate) struct Machine<'a> {
    pub(crate) world: &'a World,
    pub(crate) place: StatePlace,
    pub(crate) promises: Promises,
    /// What files hold that kiln said it wrote.
    pub(crate) written: BTreeMap<PathBuf, Variant>,
    pub(crate) trials: u32,
    /// The last context that was built.
    pub(crate) number: u32,
}

impl<'a> Machine<'a> {
    pub(crate) fn at(world: &'a World, place: StatePlace) -> Self {
        Self {
            world,
            place,
            promises: Promises::default(),
            written: BTreeMap::new(),
            trials: 0,
            number: 0,
        }
    }

    pub(crate) fn kiln(&self) -> Command {
        let command = self.place.command(self.world.kiln.program());
        self.world.kiln.bind(command, &self.place.root())
    }

    /// Chooses something to do, and the command that does it.
    pub(crate) fn action(&mut self, chance: &mut Chance) -> Result<(Action, Command), Skip> {
        self.number += 1;
        let action = Action::choose(chance, &self.promises, self.world, self.number);
        let mut command = self.kiln();
        action.add_to(&mut command, self.world, &self.place.root())?;
        Ok((action, command))
    }

    /// Lets kiln do some things undisturbed.
    pub(crate) fn warm_up(&mut self, chance: &mut Chance) -> Result<(), String> {
        for _ in 0..chance.below(3) {
            let (action, mut command) = self.action(chance).map_err(|skip| skip.to_string())?;
            must_succeed(&mut command).map_err(|failure| format!("undisturbed: {failure}"))?;
            self.promise(&action);
        }
        Ok(())
    }

    /// Notes that kiln said that it did something.
    pub(crate) fn promise(&mut self, action: &Action) {
        match action.container(&self.promises) {
            Some((name, Some(variant))) => drop(self.promises.containers.insert(name, variant)),
            Some((name, None)) => drop(self.promises.containers.remove(&name)),
            None => {}
        }
        if let Action::Export { variant, to } = action {
            self.promises.caches.insert(*to, *variant);
        }
        match action.effect(&self.promises, self.world) {
            Some((name, Some(variant))) => drop(self.promises.images.insert(name, variant)),
            Some((name, None)) => drop(self.promises.images.remove(&name)),
            None => {}
        }
        self.written.extend(action.file(&self.place.root()));
    }
}
