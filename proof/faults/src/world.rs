//! kiln with a state directory, what it can reach, and what it promised.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use kiln_testbed::{GitSite, Kiln, Registry, Scratch, Skip, Web, WebAnswer};

use crate::action::Cache;
use crate::image::{Site, Variant, Way};

/// Variants that come from elsewhere.
pub(crate) const FOREIGN: [Variant; 3] = [Variant(1000), Variant(1001), Variant(1002)];

/// What all trials of a scenario share.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) kiln: Kiln,
    registry: Registry,
    repositories: Arc<GitSite>,
    web: Web,
}

/// Repositories with whole contexts, and with files only.
const CONTEXTS: &str = "contexts";
const DATA: &str = "data";

/// What a path of the web server begins with whose number says which variant's large file it is.
const LARGE: &str = "/large-";

impl World {
    /// Starts a registry and fills it, with the help of a state directory that no fault touches.
    pub(crate) fn new(kiln: &Path) -> Result<Self, Skip> {
        let repositories = Arc::new(GitSite::new()?);
        let served = Arc::clone(&repositories);
        let web = Web::start(move |request| match request.path.strip_prefix(LARGE) {
            Some(number) => match number.parse() {
                Ok(number) => WebAnswer::new(200, Variant(number).large()),
                Err(_) => WebAnswer::new(404, ""),
            },
            None => served.answer(request),
        });
        let world = Self {
            kiln: Kiln::in_scratch(kiln, Scratch::in_memory()),
            registry: Registry::start()?,
            repositories,
            web,
        };
        world.kiln.knows(&world.registry);
        for variant in FOREIGN {
            let context = world.context(variant, Way::Context)?;
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

    /// Returns a kiln that no fault touches.
    pub(crate) fn undisturbed(&self) -> Command {
        self.kiln.command_on(&self.kiln.scratch.join("undisturbed"))
    }

    /// Returns a kiln that knows nothing of the others.
    pub(crate) fn elsewhere(&self) -> Command {
        self.kiln.command_on(&self.kiln.scratch.join("elsewhere"))
    }

    /// Returns the context of a variant as kiln is given it, written on first use.
    pub(crate) fn context(&self, variant: Variant, way: Way) -> Result<OsString, Skip> {
        let directory = self
            .kiln
            .scratch
            .join(format!("context-{way:?}-{}", variant.0));
        let is_new = !directory.exists();
        if way == Way::GitContext {
            let branch = format!("context-{}", variant.0);
            if is_new {
                fs::create_dir(&directory).expect("the scratch directory is ours");
                let write = |tree: &Path| variant.write_context(tree, way, self);
                self.commit(CONTEXTS, &branch, write)?;
            }
            return Ok(self.web.url(&format!("/{CONTEXTS}.git#{branch}")).into());
        }
        if is_new {
            variant.write_context(&directory, way, self)?;
        }
        Ok(directory.into())
    }

    /// Commits a tree to a new branch of a repository: all variants share one, as commits do.
    fn commit(
        &self,
        repository: &str,
        branch: &str,
        write: impl FnOnce(&Path) -> Result<(), Skip>,
    ) -> Result<(), Skip> {
        let repository = self.repositories.repository(repository);
        repository.git(&["checkout", "--quiet", "-B", branch]);
        write(repository.path())?;
        repository.commit(branch);
        Ok(())
    }

    pub(crate) fn archive(&self, variant: Variant) -> PathBuf {
        self.kiln.scratch.join(format!("{}.tar", variant.0))
    }

    /// Returns the name that an archive gives.
    pub(crate) fn archive_name(&self, variant: Variant) -> String {
        format!("loaded:{}", variant.0)
    }

    pub(crate) fn pulled_name(&self, variant: Variant) -> String {
        self.registry.image(&format!("pulled:{}", variant.0))
    }

    /// Returns the name of the cache that builds give away.
    pub(crate) fn cache_name(&self) -> String {
        self.registry.image("cache:latest")
    }

    pub(crate) fn pushed_name(&self, variant: Variant) -> String {
        self.registry.image(&format!("pushed:{}", variant.0))
    }

    /// Returns the name of a repository that is new.
    pub(crate) fn fresh_name(&self, number: u64) -> String {
        self.registry.image(&format!("fresh-{number:x}:1"))
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
        let files = self.kiln.scratch.join("unpacked");
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
        let (context, files) = (
            self.kiln.scratch.join("from"),
            self.kiln.scratch.join("files"),
        );
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

impl Site for World {
    fn git(&self, variant: Variant) -> String {
        let branch = format!("data-{}", variant.0);
        let made = self.kiln.scratch.join(&branch);
        if !made.exists() {
            fs::create_dir(&made).expect("the scratch directory is ours");
            let write = |tree: &Path| {
                variant.write_data(tree);
                Ok(())
            };
            self.commit(DATA, &branch, write)
                .expect("nothing is asked of the machine");
        }
        self.web.url(&format!("/{DATA}.git#{branch}"))
    }

    fn download(&self, variant: Variant) -> String {
        self.web.url(&format!("{LARGE}{}", variant.0))
    }
}

/// What kiln said that it did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Promises {
    /// Images by name.
    pub(crate) images: BTreeMap<String, Variant>,
    /// What containers are made of that it keeps, by name.
    pub(crate) containers: BTreeMap<String, Variant>,
    /// What caches hold that builds gave away.
    pub(crate) caches: BTreeMap<Cache, Variant>,
}

/// Runs a command that prepares a scenario.
fn succeed(command: &mut Command) -> Result<(), Skip> {
    must_succeed(command).map(drop).map_err(Skip::because)
}

/// Runs a command that must succeed; says how it did not.
pub(crate) fn must_succeed(command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .map_err(|error| format!("cannot start {command:?}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(told(command, &output))
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
