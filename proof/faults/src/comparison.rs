//! The state after a fault, compared with what was promised before.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::action::{Action, Cache, FILES_ARCHIVE, cache_directory};
use crate::chance::Chance;
use crate::image::{Variant, Way};
use crate::machine::Machine;
use crate::world::must_succeed;

impl Machine<'_> {
    /// Compares the state with what was promised. Of an action that was begun and of which
    /// kiln did not say that it is done, before and after are right, and nothing between.
    pub(crate) fn compare(
        &mut self,
        chance: &mut Chance,
        in_flight: Option<&Action>,
    ) -> Result<(), String> {
        self.compare_written(in_flight.and_then(|action| action.file(&self.place.root())))?;
        self.compare_images(in_flight)?;
        self.compare_containers(chance, in_flight)?;
        if let Some(&cache) = chance.any(self.promises.caches.keys()) {
            self.compare_cache(cache, in_flight)?;
        }
        // What one of them leaves broken, a later trial finds.
        match chance.any(self.promises.images.keys()) {
            Some(name) if chance.below(2) == 0 => self.build_upon(name)?,
            _ => self.build_again(chance)?,
        }
        self.verify(in_flight)
    }

    /// Checks that nothing is damaged that no command has looked at yet. Records say themselves whether they
    /// are whole: those of an action that was not done need not be.
    pub(crate) fn verify(&self, in_flight: Option<&Action>) -> Result<(), String> {
        let verified = must_succeed(self.kiln().args(["cache", "verify"]))?;
        let mut damage = verified
            .lines()
            .filter(|line| line.starts_with("discarded: "));
        let is_fine = verified.ends_with(": no damage\n");
        let is_of_records = damage.all(|line| line.starts_with("discarded: record "));
        if is_fine || (in_flight.is_some() && is_of_records) {
            Ok(())
        } else {
            Err(format!("damage was left: {verified}"))
        }
    }

    /// Compares images, each once whatever the number of its names.
    pub(crate) fn compare_images(&mut self, in_flight: Option<&Action>) -> Result<(), String> {
        let format = ["--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"];
        let listed = must_succeed(self.kiln().arg("images").args(format))?;
        let ids: BTreeMap<&str, &str> = listed
            .lines()
            .filter_map(|line| line.split_once(' '))
            .collect();
        if let Some((name, after)) =
            in_flight.and_then(|action| action.effect(&self.promises, self.world))
        {
            let before = self.promises.images.remove(&name);
            let possible: Vec<Variant> = before.into_iter().chain(after).collect();
            if ids.contains_key(&*name) {
                let variant = self.world.compare(|| self.kiln(), &name, &possible)?;
                self.promises.images.insert(name, variant);
            } else if before.is_some() && after.is_some() {
                return Err(format!("{name} is gone"));
            }
        }
        let mut compared = BTreeSet::new();
        for (name, variant) in &self.promises.images {
            let id = ids.get(&**name).ok_or(format!("{name} is gone"))?;
            if compared.insert((id, variant)) {
                self.world.compare(|| self.kiln(), name, &[*variant])?;
            }
        }
        Ok(())
    }

    /// Checks that the containers are there, and that one of them can be started again.
    fn compare_containers(
        &mut self,
        chance: &mut Chance,
        in_flight: Option<&Action>,
    ) -> Result<(), String> {
        let format = ["--all", "--format", "{{.Names}}"];
        let listed = must_succeed(self.kiln().arg("ps").args(format))?;
        let listed: BTreeSet<&str> = listed.lines().collect();
        if let Some((name, after)) = in_flight.and_then(|action| action.container(&self.promises)) {
            let before = self.promises.containers.remove(&name);
            if let (true, Some(variant)) = (listed.contains(&*name), before.or(after)) {
                self.promises.containers.insert(name, variant);
            }
        }
        let containers = &self.promises.containers;
        if let Some(name) = containers.keys().find(|name| !listed.contains(&***name)) {
            return Err(format!("the container {name} is gone"));
        }
        let Some((name, variant)) = chance.any(containers) else {
            return Ok(());
        };
        must_succeed(self.kiln().args(["wait", name]))?;
        must_succeed(self.kiln().args(["start", name]))?;
        let status = must_succeed(self.kiln().args(["wait", name]))?;
        let logged = must_succeed(self.kiln().args(["logs", "--tail", "1", name]))?;
        if status == "0\n" && logged == format!("{}\n", variant.0) {
            Ok(())
        } else {
            Err(format!(
                "the container {name} of variant {} ended with {status}and printed {logged}",
                variant.0
            ))
        }
    }

    /// Builds with a cache that was given away, where nothing else is known.
    fn compare_cache(&self, cache: Cache, in_flight: Option<&Action>) -> Result<(), String> {
        let elsewhere = self.world.kiln.scratch.join("elsewhere");
        let copy = cache_directory(&elsewhere);
        for directory in [&elsewhere, &copy] {
            let _ = fs::remove_dir_all(directory);
        }
        if cache == Cache::Directory {
            let mut copying = self.place.command(Path::new("/bin/cp"));
            copying.arg("-r").arg(cache_directory(&self.place.root()));
            must_succeed(copying.arg(&copy))?;
        }
        let variant = self.promises.caches[&cache];
        let context = self
            .world
            .context(variant, Way::Context)
            .map_err(|skip| skip.to_string())?;
        let build = || {
            let mut build = self.world.elsewhere();
            build
                .args(["build", "--progress", "plain", "-t", "elsewhere"])
                .arg("--cache-from")
                .arg(cache.flag("src", &copy, self.world))
                .arg(&context);
            build
        };
        let said = must_succeed_aloud(&mut build())?;
        self.world
            .compare(|| self.world.elsewhere(), "elsewhere", &[variant])?;
        // Another one that replaces it may have done so.
        let is_replaced = matches!(in_flight, Some(Action::Export { to, .. }) if *to == cache);
        if is_replaced || said.contains("CACHED") {
            Ok(())
        } else {
            Err(format!(
                "a cache holds nothing of variant {}: {said}",
                variant.0
            ))
        }
    }

    /// Compares files that kiln wrote with what was promised.
    pub(crate) fn compare_written(
        &mut self,
        in_flight: Option<(PathBuf, Variant)>,
    ) -> Result<(), String> {
        let mut possible: BTreeMap<PathBuf, Vec<Variant>> = BTreeMap::new();
        for (path, variant) in self.written.clone().into_iter().chain(in_flight) {
            possible.entry(path).or_default().push(variant);
        }
        for (path, variants) in possible {
            let copy = self.world.kiln.scratch.join("copy.tar");
            let mut read = self.place.command(Path::new("/bin/cat"));
            let read = read
                .arg(&path)
                .output()
                .map_err(|error| error.to_string())?;
            if !read.status.success() {
                if self.written.contains_key(&path) {
                    return Err(format!("{} is gone", path.display()));
                } else {
                    continue;
                }
            }
            fs::write(&copy, &read.stdout).map_err(|error| error.to_string())?;
            let is_of_files = path.to_string_lossy().ends_with(FILES_ARCHIVE);
            let found = if is_of_files {
                self.world.compare_files_archive(&copy, &variants)
            } else {
                self.world.compare_image_archive(&copy, &variants)
            };
            let found = found.map_err(|failure| format!("{}: {failure}", path.display()))?;
            self.written.insert(path, found);
        }
        Ok(())
    }

    /// Builds on top of an image and gives it to a registry, where it must be right for others.
    pub(crate) fn build_upon(&self, name: &str) -> Result<(), String> {
        let variant = self.promises.images[name];
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
        let variant = Variant::recent(self.number, chance);
        let way = Way::choose(chance);
        let context = self
            .world
            .context(variant, way)
            .map_err(|skip| skip.to_string())?;
        must_succeed(
            self.kiln()
                .args(["build", "-q", "-t", "again"])
                .arg(context),
        )?;
        self.world
            .compare(|| self.kiln(), "again", &[variant])
            .map_err(|failure| format!("{way:?}: {failure}"))?;
        must_succeed(self.kiln().args(["rmi", "again"])).map(drop)
    }
}

/// Runs a command that must succeed, and returns what it said of its progress.
fn must_succeed_aloud(command: &mut std::process::Command) -> Result<String, String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    } else {
        Err(crate::world::told(command, &output))
    }
}
