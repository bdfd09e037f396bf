//! How each program is told to do the same thing.
//!
//! Each has a store of its own with the base images in it, talks to the same registry, and
//! gives its steps the network of the machine, so that none spends time on a bridge.

mod buildah;
mod docker;
mod kiln;
mod podman;
mod runc;

use std::path::Path;
use std::process::Command;

use kiln_testbed::Registry;

use crate::area::Area;
use crate::arguments::Arguments;
use crate::error::Error;
use crate::image::succeed;

/// Programs other than kiln, by name.
pub(crate) const PEERS: [&str; 4] = [buildah::NAME, docker::NAME, podman::NAME, runc::NAME];

/// kiln's name in tables.
pub(crate) const KILN: &str = kiln::NAME;

/// A program that builds images or runs them.
///
/// What it has no command for, it takes no part in.
pub(crate) trait Builder {
    /// Returns its name in tables.
    fn name(&self) -> &'static str;

    /// Returns a command that prints its version on one line.
    fn version(&self) -> Command;

    /// Returns the processes of a daemon that does the builder's work, if there is one.
    fn daemons(&self) -> Vec<u32> {
        Vec::new()
    }

    /// Returns a command that makes an image of a context, and keeps it in the builder's store.
    fn build(&self, _tag: &str, _context: &Path) -> Option<Command> {
        None
    }

    /// Returns a command that pushes an image to the registry its name begins with.
    fn push(&self, _tag: &str) -> Option<Command> {
        None
    }

    /// Returns a command that runs a program in a container of an image, and removes the
    /// container.
    fn run(&self, _image: &str, _arguments: &[&str]) -> Option<Command> {
        None
    }

    /// Returns a command that writes an image, which was built of a context before, to an OCI
    /// archive.
    fn export(&self, _export: &Export<'_>) -> Option<Command> {
        None
    }
}

/// What is to be written where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Export<'run> {
    pub(crate) tag: &'run str,
    pub(crate) context: &'run Path,
    pub(crate) archive: &'run Path,
    pub(crate) compression: Compression,
}

/// How layers are compressed, each at the level that people get who ask for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    Gzip,
    Zstd,
}

impl Compression {
    /// Returns the name that every builder knows, and the end of the layers' media type.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// The builders that take part, and words about those that cannot.
pub(crate) struct Builders {
    pub(crate) present: Vec<Box<dyn Builder>>,
    pub(crate) absent: Vec<String>,
}

/// Gets the builders ready, each with the base images of these names in its store.
pub(crate) fn prepare(
    arguments: &Arguments,
    registry: &Registry,
    area: &Area,
    images: &[&str],
) -> Result<Builders, Error> {
    let mut builders = Builders {
        present: Vec::new(),
        absent: Vec::new(),
    };
    let names = std::iter::once(KILN).chain(arguments.peers.0.iter().map(String::as_str));
    for name in names {
        let builder = match name {
            buildah::NAME => buildah::prepare(registry, images),
            docker::NAME => docker::prepare(registry, images),
            podman::NAME => podman::prepare(registry),
            runc::NAME => runc::prepare(),
            _ => kiln::prepare(&arguments.kiln, registry, area, images),
        };
        match builder {
            Ok(builder) => builders.present.push(builder),
            Err(Error::Lacking(what)) => builders.absent.push(format!("{name}: {what}")),
            Err(error) => return Err(error),
        }
    }
    Ok(builders)
}

/// Runs a command that makes a builder ready.
fn ready(doing: &str, command: &mut Command) -> Result<(), Error> {
    match succeed(command) {
        Ok(_) => Ok(()),
        Err(said) => Err(Error::Preparation {
            doing: doing.to_owned(),
            said,
        }),
    }
}
