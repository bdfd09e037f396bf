use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_testbed::Skip;

use crate::chance::Chance;
use crate::image::Variant;
use crate::world::{FOREIGN, Promises, World};

/// Something that kiln is asked for.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Makes an image of a context.
    Build { name: String, variant: Variant },
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
    Run { name: String, container: String },
    /// Takes everything out of the cache that can go.
    Prune,
    /// Takes a name away.
    Remove(String),
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
        let names: Vec<&String> = promises.0.keys().collect();
        let kind = match names.is_empty() {
            true => 0,
            false => chance.below(20),
        };
        let build = |chance: &mut Chance| Self::Build {
            name: format!("app:{}", chance.below(3)),
            // One that was built before is found, or what was lost of it is made again.
            variant: Variant(number - u32::try_from(chance.below(3)).unwrap_or(0).min(number)),
        };
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
                    let to = world.pushed_name(promises.0[&from]);
                    Self::Tag { from, to }
                }
            },
            13 => Self::Run {
                name: name(chance),
                container: format!("container-{number}"),
            },
            14 => Self::Prune,
            15 | 16 => {
                let name = name(chance);
                let variant = promises.0[&name];
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
                    .arg(world.context(*variant)?)
            }
            Self::Build { name, variant } => command
                .args(["build", "-q", "-t", name])
                .arg(world.context(*variant)?),
            Self::Load(variant) => command
                .args(["load", "-q", "-i"])
                .arg(world.archive(*variant)),
            Self::Pull(variant) => command
                .args(["pull", "-q"])
                .arg(world.pulled_name(*variant)),
            Self::Tag { from, to } => command.args(["tag", from, to]),
            Self::Push(name) => command.args(["push", "-q", name]),
            Self::Run { name, container } => command.args(["run", "--name", container, name]),
            Self::Prune => command.args(["builder", "prune", "--all", "--force"]),
            Self::Remove(name) => command.args(["rmi", name]),
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
            Self::Build { name, variant } => Some((name.clone(), Some(*variant))),
            Self::Load(variant) => Some((world.archive_name(*variant), Some(*variant))),
            Self::Pull(variant) => Some((world.pulled_name(*variant), Some(*variant))),
            Self::Tag { from, to } => Some((to.clone(), promises.0.get(from).copied())),
            Self::Remove(name) => Some((name.clone(), None)),
            Self::Save { .. }
            | Self::Write { .. }
            | Self::Push(_)
            | Self::Run { .. }
            | Self::Prune => None,
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
