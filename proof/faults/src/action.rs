use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_testbed::Skip;

use crate::chance::Chance;
use crate::image::{Variant, Way};
use crate::world::{FOREIGN, Promises, World};

/// Something that kiln is asked for.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Makes an image of a context.
    Build {
        name: String,
        variant: Variant,
        way: Way,
    },
    /// Makes an image of a context, and gives what it made to other machines.
    Export { variant: Variant, to: Cache },
    /// Takes an image from an archive.
    Load(Variant),
    /// Takes an image from a registry.
    Pull(Variant),
    /// Writes an image to a file.
    Save { name: String, variant: Variant },
    /// Writes what a context makes to a file.
    Write { variant: Variant, form: Form },
    /// Gives an image another name.
    Tag { from: String, to: String },
    /// Gives an image to a registry, under a name that it has.
    Push(String),
    /// Runs an image and keeps the container.
    Run {
        name: String,
        container: String,
        attendance: Attendance,
    },
    /// Removes a container.
    RemoveContainer(String),
    /// Takes everything out of the cache that can go.
    Prune,
    /// Takes a name away.
    Remove(String),
}

/// Where the cache of a build goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cache {
    Directory,
    Registry,
}

/// Whether a process waits for a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attendance {
    Foreground,
    Background,
}

impl Cache {
    /// Returns how `--cache-to` names it, or `--cache-from`: the word for the directory differs.
    pub(crate) fn flag(self, directory_word: &str, directory: &Path, world: &World) -> String {
        match self {
            Self::Directory => format!("type=local,{directory_word}={}", directory.display()),
            Self::Registry => format!("type=registry,ref={}", world.cache_name()),
        }
    }
}

/// Returns the directory that caches go to, beside the state directory.
pub(crate) fn cache_directory(root: &Path) -> PathBuf {
    root.with_extension("cache")
}

/// Takes away what actions write beside a state directory, as far as it is there.
pub(crate) fn remove_beside(root: &Path) {
    let _ = std::fs::remove_dir_all(cache_directory(root));
    for ending in [IMAGE_ARCHIVE, FILES_ARCHIVE] {
        let _ = std::fs::remove_file(root.with_extension(ending));
    }
}

/// What a file holds that a build writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// An image, as an archive of its layout.
    Oci,
    /// An image, as docker saves one.
    Docker,
    /// The files of an image.
    Files,
}

impl Form {
    fn word(self) -> &'static str {
        match self {
            Self::Oci => "oci",
            Self::Docker => "docker",
            Self::Files => "tar",
        }
    }

    /// Returns the file that all of this form replace, beside the state directory.
    fn path(self, root: &Path) -> PathBuf {
        root.with_extension(match self {
            Self::Oci | Self::Docker => IMAGE_ARCHIVE,
            Self::Files => FILES_ARCHIVE,
        })
    }
}

/// The endings of files with an image, and with its files.
const IMAGE_ARCHIVE: &str = "image.tar";
pub(crate) const FILES_ARCHIVE: &str = "files.tar";

impl Action {
    /// Chooses one that can succeed. `number` is that of no earlier one.
    pub(crate) fn choose(
        chance: &mut Chance,
        promises: &Promises,
        world: &World,
        number: u32,
    ) -> Self {
        let names: Vec<&String> = promises.images.keys().collect();
        let kind = if names.is_empty() {
            0
        } else {
            chance.below(26)
        };
        let build = |chance: &mut Chance| Self::Build {
            name: format!("app:{}", chance.below(3)),
            variant: Variant::recent(number, chance),
            way: Way::choose(chance),
        };
        let containers: Vec<&String> = promises.containers.keys().collect();
        let name = |chance: &mut Chance| chance.one_of(&names).clone();
        match kind {
            0..=5 => build(chance),
            6 | 7 => Self::Load(chance.one_of(&FOREIGN)),
            8 | 9 => Self::Pull(chance.one_of(&FOREIGN)),
            10 => Self::Tag {
                from: name(chance),
                to: format!("tagged:{}", chance.below(2)),
            },
            11 | 12 => match names.iter().find(|name| name.contains("/pushed:")) {
                Some(name) => Self::Push((*name).clone()),
                None => {
                    let from = name(chance);
                    let to = world.pushed_name(promises.images[&from]);
                    Self::Tag { from, to }
                }
            },
            13 | 20 => Self::Run {
                name: name(chance),
                container: format!("container-{number}"),
                attendance: match kind {
                    13 => Attendance::Foreground,
                    _ => Attendance::Background,
                },
            },
            21 if !containers.is_empty() => {
                Self::RemoveContainer(chance.one_of(&containers).clone())
            }
            22 | 23 => Self::Export {
                variant: Variant(number),
                to: chance.one_of(&[Cache::Directory, Cache::Registry]),
            },
            21 | 24 | 25 => build(chance),
            14 => Self::Prune,
            15 | 16 => {
                let name = name(chance);
                let variant = promises.images[&name];
                Self::Save { name, variant }
            }
            17 | 18 => Self::Write {
                variant: Variant(number),
                form: chance.one_of(&[Form::Oci, Form::Docker, Form::Files]),
            },
            _ => Self::Remove(name(chance)),
        }
    }

    /// Adds the arguments to a kiln command with a state directory.
    pub(crate) fn add_to(
        &self,
        command: &mut Command,
        world: &World,
        root: &Path,
    ) -> Result<(), Skip> {
        match self {
            Self::Save { name, .. } => command
                .args(["save", "-o"])
                .arg(Form::Docker.path(root))
                .arg(name),
            Self::Write { variant, form } => {
                let (word, path) = (form.word(), form.path(root));
                let output = format!("type={word},dest={}", path.display());
                command
                    .args(["build", "-q", "-t", "written", "-o", &output])
                    .arg(world.context(*variant, Way::Context)?)
            }
            Self::Build { name, variant, way } => command
                .args(["build", "-q", "-t", name])
                .arg(world.context(*variant, *way)?),
            Self::Export { variant, to } => command
                .args(["build", "-q", "--cache-to"])
                .arg(to.flag("dest", &cache_directory(root), world))
                .arg(world.context(*variant, Way::Context)?),
            Self::Load(variant) => command
                .args(["load", "-q", "-i"])
                .arg(world.archive(*variant)),
            Self::Pull(variant) => command
                .args(["pull", "-q"])
                .arg(world.pulled_name(*variant)),
            Self::Tag { from, to } => command.args(["tag", from, to]),
            Self::Push(name) => command.args(["push", "-q", name]),
            Self::Run {
                name,
                container,
                attendance,
            } => {
                command.args(["run", "--name", container]);
                if *attendance == Attendance::Background {
                    command.arg("--detach");
                }
                command.arg(name)
            }
            Self::RemoveContainer(container) => command.args(["rm", container]),
            Self::Prune => command.args(["builder", "prune", "--all", "--force"]),
            // Containers may be made of it.
            Self::Remove(name) => command.args(["rmi", "--force", name]),
        };
        Ok(())
    }

    /// Returns what a name stands for when it is done: none if it is gone. Nothing for an action that
    /// changes no name.
    pub(crate) fn effect(
        &self,
        promises: &Promises,
        world: &World,
    ) -> Option<(String, Option<Variant>)> {
        match self {
            Self::Build { name, variant, .. } => Some((name.clone(), Some(*variant))),
            Self::Load(variant) => Some((world.archive_name(*variant), Some(*variant))),
            Self::Pull(variant) => Some((world.pulled_name(*variant), Some(*variant))),
            Self::Tag { from, to } => Some((to.clone(), promises.images.get(from).copied())),
            Self::Remove(name) => Some((name.clone(), None)),
            Self::Save { .. }
            | Self::Write { .. }
            | Self::Push(_)
            | Self::Export { .. }
            | Self::Run { .. }
            | Self::RemoveContainer(_)
            | Self::Prune => None,
        }
    }

    /// Returns what a container is made of when it is done: none if it is gone. Nothing for an action
    /// that changes no container.
    pub(crate) fn container(&self, promises: &Promises) -> Option<(String, Option<Variant>)> {
        match self {
            Self::Run {
                name, container, ..
            } => Some((container.clone(), promises.images.get(name).copied())),
            Self::RemoveContainer(container) => Some((container.clone(), None)),
            _ => None,
        }
    }

    /// Returns which file holds what when it is done.
    pub(crate) fn file(&self, root: &Path) -> Option<(PathBuf, Variant)> {
        match self {
            Self::Save { variant, .. } => Some((Form::Docker.path(root), *variant)),
            Self::Write { variant, form } => Some((form.path(root), *variant)),
            _ => None,
        }
    }
}
