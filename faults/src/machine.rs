//! A kiln that works, is disturbed, and is looked at.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_testbed::Skip;

use crate::action::{Action, FILES_ARCHIVE};
use crate::chance::Chance;
use crate::disk::Disk;
use crate::image::Variant;
use crate::world::{Promises, World, must_succeed};

/// Where a state directory is.
#[derive(Debug)]
pub(crate) enum Place {
    /// On a disk of its own.
    Disk(Disk),
    /// In a directory of the disk that all use.
    Directory(PathBuf),
}

impl Place {
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
    world: &'a World,
    pub(crate) place: Place,
    pub(crate) promises: Promises,
    /// What files hold that kiln said it wrote.
    written: BTreeMap<PathBuf, Variant>,
    pub(crate) trials: u32,
    /// The last context that was built.
    number: u32,
}

impl<'a> Machine<'a> {
    pub(crate) fn at(world: &'a World, place: Place) -> Self {
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
        let command = self.place.command(self.world.kiln());
        self.world.bind(command, &self.place.root())
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
        match action.effect(&self.promises, self.world) {
            Some((name, Some(variant))) => drop(self.promises.0.insert(name, variant)),
            Some((name, None)) => drop(self.promises.0.remove(&name)),
            None => {}
        }
        self.written.extend(action.file(&self.place.root()));
    }

    /// Compares what there is now with what was promised. Of an action that was begun and of which
    /// kiln did not say that it is done, before and after are right, and nothing between.
    pub(crate) fn compare(
        &mut self,
        chance: &mut Chance,
        in_flight: Option<&Action>,
    ) -> Result<(), String> {
        self.compare_written(in_flight.and_then(|action| action.file(&self.place.root())))?;
        let in_flight = in_flight.and_then(|action| action.effect(&self.promises, self.world));
        must_succeed(self.kiln().arg("images"))?;
        must_succeed(self.kiln().args(["ps", "--all"]))?;
        if let Some((name, after)) = in_flight {
            let is_there = must_succeed(self.kiln().args(["inspect", &name])).is_ok();
            let before = self.promises.0.remove(&name);
            let possible: Vec<Variant> = before.into_iter().chain(after).collect();
            match is_there {
                true => {
                    let variant = self.world.compare(|| self.kiln(), &name, &possible)?;
                    self.promises.0.insert(name, variant);
                }
                false if before.is_some() && after.is_some() => {
                    return Err(format!("{name} is gone"));
                }
                false => {}
            }
        }
        for (name, variant) in &self.promises.0 {
            self.world.compare(|| self.kiln(), name, &[*variant])?;
        }
        let names: Vec<String> = self.promises.0.keys().cloned().collect();
        if !names.is_empty() {
            let names: Vec<&String> = names.iter().collect();
            let name: &String = chance.one_of(&names);
            self.build_upon(name)?;
        }
        self.build_again(chance)?;
        let verified = must_succeed(self.kiln().args(["cache", "verify"]))?;
        match verified.ends_with(": no damage\n") {
            true => Ok(()),
            false => Err(format!("damage was left: {verified}")),
        }
    }

    /// Compares files that kiln wrote with what was promised.
    fn compare_written(&mut self, in_flight: Option<(PathBuf, Variant)>) -> Result<(), String> {
        let mut possible: BTreeMap<PathBuf, Vec<Variant>> = BTreeMap::new();
        for (path, variant) in self.written.clone().into_iter().chain(in_flight) {
            possible.entry(path).or_default().push(variant);
        }
        for (path, variants) in possible {
            let copy = self.world.scratch.join("copy.tar");
            let mut read = self.place.command(Path::new("/bin/cat"));
            let read = read
                .arg(&path)
                .output()
                .map_err(|error| error.to_string())?;
            if !read.status.success() {
                match self.written.contains_key(&path) {
                    true => return Err(format!("{} is gone", path.display())),
                    false => continue,
                }
            }
            fs::write(&copy, &read.stdout).map_err(|error| error.to_string())?;
            let is_of_files = path.to_string_lossy().ends_with(FILES_ARCHIVE);
            let found = match is_of_files {
                true => self.world.compare_files_archive(&copy, &variants),
                false => self.world.compare_image_archive(&copy, &variants),
            };
            let found = found.map_err(|failure| format!("{}: {failure}", path.display()))?;
            self.written.insert(path, found);
        }
        Ok(())
    }

    /// Builds on top of an image and gives it to a registry, where it must be right for others.
    fn build_upon(&self, name: &str) -> Result<(), String> {
        let variant = self.promises.0[name];
        let run = "RUN [\"/bin/busybox\", \"cp\", \"/data/large\", \"/upon\"]\n";
        let files = self
            .world
            .files_of(|| self.kiln(), &format!("FROM {name}\n{run}"))?;
        variant.compare(&files)?;
        let pushed = self.world.upon_name(variant);
        must_succeed(self.kiln().args(["tag", name, &pushed]))?;
        must_succeed(self.kiln().args(["push", "-q", &pushed]))?;
        must_succeed(self.kiln().args(["rmi", &pushed]))?;
        must_succeed(self.world.undisturbed().args(["pull", "-q", &pushed]))?;
        self.world
            .compare(|| self.world.undisturbed(), &pushed, &[variant])
            .map(drop)
    }

    /// Builds what was built before, for what is left of that in the cache.
    fn build_again(&self, chance: &mut Chance) -> Result<(), String> {
        let back = u32::try_from(chance.below(3)).unwrap_or(0).min(self.number);
        let variant = Variant(self.number - back);
        let context = self
            .world
            .context(variant)
            .map_err(|skip| skip.to_string())?;
        must_succeed(
            self.kiln()
                .args(["build", "-q", "-t", "again"])
                .arg(context),
        )?;
        self.world.compare(|| self.kiln(), "again", &[variant])?;
        must_succeed(self.kiln().args(["rmi", "again"])).map(drop)
    }
}
