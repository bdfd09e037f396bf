//! kiln with a state directory, what it can reach, and what it promised.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kiln_testbed::{Registry, Scratch, Skip};

use crate::image::Variant;

/// Variants that come from elsewhere.
pub(crate) const FOREIGN: [Variant; 3] = [Variant(1000), Variant(1001), Variant(1002)];

/// What all trials of a scenario share.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) scratch: Scratch,
    kiln: PathBuf,
    registry: Registry,
}

impl World {
    /// Starts a registry and fills it, with the help of a state directory that no fault touches.
    pub(crate) fn new(kiln: &Path) -> Result<Self, Skip> {
        let world = Self {
            scratch: Scratch::new(),
            kiln: kiln.to_owned(),
            registry: Registry::start()?,
        };
        for variant in FOREIGN {
            let context = world.context(variant)?;
            let (loaded, pulled) = (world.archive_name(variant), world.pulled_name(variant));
            let mut build = world.undisturbed();
            build.args(["build", "-q", "-t", &loaded, "-t", &pulled]);
            succeed(build.arg(context))?;
            succeed(world.undisturbed().args(["push", "-q", &pulled]))?;
            let archive = world.archive(variant);
            succeed(
                world
                    .undisturbed()
                    .args(["save", "-o"])
                    .arg(archive)
                    .arg(loaded),
            )?;
        }
        Ok(world)
    }

    pub(crate) fn kiln(&self) -> &Path {
        &self.kiln
    }

    /// Binds a command to a state directory and to what kiln can reach.
    pub(crate) fn bind(&self, mut command: Command, root: &Path) -> Command {
        command
            .env("KILN_ROOT", root)
            .env(
                "CONTAINERS_REGISTRIES_CONF",
                self.registry.registries_conf(),
            )
            .env("DOCKER_CONFIG", self.scratch.join("docker"))
            .env_remove("SOURCE_DATE_EPOCH")
            .current_dir(self.scratch.path());
        command
    }

    /// Returns a kiln that no fault touches.
    pub(crate) fn undisturbed(&self) -> Command {
        self.bind(Command::new(&self.kiln), &self.scratch.join("undisturbed"))
    }

    /// Returns the context of a variant, written on first use.
    pub(crate) fn context(&self, variant: Variant) -> Result<PathBuf, Skip> {
        let directory = self.scratch.join(format!("context-{}", variant.0));
        if !directory.exists() {
            variant.write_context(&directory)?;
        }
        Ok(directory)
    }

    pub(crate) fn archive(&self, variant: Variant) -> PathBuf {
        self.scratch.join(format!("{}.tar", variant.0))
    }

    /// Returns the name that an archive gives.
    pub(crate) fn archive_name(&self, variant: Variant) -> String {
        format!("loaded:{}", variant.0)
    }

    pub(crate) fn pulled_name(&self, variant: Variant) -> String {
        self.registry.image(&format!("pulled:{}", variant.0))
    }

    pub(crate) fn pushed_name(&self, variant: Variant) -> String {
        self.registry.image(&format!("pushed:{}", variant.0))
    }

    /// Returns the name that a check pushes under; no action uses it.
    pub(crate) fn upon_name(&self, variant: Variant) -> String {
        self.registry.image(&format!("upon:{}", variant.0))
    }

    /// Compares an image with a variant, by the files that `kiln` makes of it.
    pub(crate) fn compare(
        &self,
        kiln: impl Fn() -> Command,
        name: &str,
        variants: &[Variant],
    ) -> Result<Variant, String> {
        let files = self.files_of(kiln, &format!("FROM {name}\n"))?;
        let mut differs = "nothing was".to_owned();
        for variant in variants {
            match variant.compare(&files) {
                Ok(()) => return Ok(*variant),
                Err(difference) => differs = difference,
            }
        }
        Err(format!("{name} is not what was promised: {differs}"))
    }

    /// Compares an archive of an image with variants, by what a kiln makes of it that no fault touches.
    pub(crate) fn compare_image_archive(
        &self,
        archive: &Path,
        variants: &[Variant],
    ) -> Result<Variant, String> {
        let mut load = self.undisturbed();
        let loaded = must_succeed(load.args(["load", "-i"]).arg(archive))?;
        let name = loaded.trim().rsplit(": ").next().unwrap_or_default();
        self.compare(|| self.undisturbed(), name, variants)
    }

    /// Compares an archive of files with variants.
    pub(crate) fn compare_files_archive(
        &self,
        archive: &Path,
        variants: &[Variant],
    ) -> Result<Variant, String> {
        let files = self.scratch.join("unpacked");
        let _ = fs::remove_dir_all(&files);
        fs::create_dir_all(&files).map_err(|error| error.to_string())?;
        let mut unpack = Command::new("tar");
        must_succeed(unpack.arg("-C").arg(&files).arg("-xf").arg(archive))?;
        let is_right = |variant: &&Variant| variant.compare(&files).is_ok();
        let found = variants.iter().find(is_right).copied();
        found.ok_or_else(|| format!("{} holds nothing promised", archive.display()))
    }

    /// Writes the files of a build out and returns where they are.
    pub(crate) fn files_of(
        &self,
        kiln: impl Fn() -> Command,
        dockerfile: &str,
    ) -> Result<PathBuf, String> {
        let (context, files) = (self.scratch.join("from"), self.scratch.join("files"));
        let _ = fs::remove_dir_all(&files);
        fs::create_dir_all(&context)
            .and_then(|()| fs::write(context.join("Dockerfile"), dockerfile))
            .map_err(|error| error.to_string())?;
        let mut build = kiln();
        build
            .args(["build", "--progress", "plain", "-o"])
            .arg(&files)
            .arg(&context);
        must_succeed(&mut build)?;
        Ok(files)
    }
}

/// What kiln said that it did: images by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Promises(pub(crate) BTreeMap<String, Variant>);

/// Runs a command that prepares a scenario.
fn succeed(command: &mut Command) -> Result<(), Skip> {
    must_succeed(command).map(drop).map_err(Skip::because)
}

/// Runs a command that must succeed; says how it did not.
pub(crate) fn must_succeed(command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .map_err(|error| format!("cannot start {command:?}: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(told(command, &output)),
    }
}

/// Says how a command ended.
pub(crate) fn told(command: &Command, output: &Output) -> String {
    let arguments: Vec<_> = command
        .get_args()
        .map(|word| word.to_string_lossy())
        .collect();
    format!(
        "{} ended with {}\n{}{}",
        arguments.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    )
}
