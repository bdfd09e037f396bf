//! How each builder is told to do the same thing.
//!
//! Each has a store of its own with the base image in it, talks to the same registry, and
//! gives its steps the network of the machine, so that nobody spends time on a bridge.

mod buildah;
mod docker;
mod kiln;

use std::path::Path;
use std::process::Command;

use kiln_testbed::Registry;

use crate::area::Area;
use crate::arguments::Arguments;
use crate::error::Error;
use crate::image::succeed;

/// Builders other than kiln, by name.
pub(crate) const PEERS: [&str; 2] = [buildah::NAME, docker::NAME];

/// kiln's name in tables.
pub(crate) const KILN: &str = kiln::NAME;

/// A program that builds images.
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
    fn build(&self, tag: &str, context: &Path) -> Command;

    /// Returns a command that pushes an image to the registry its name begins with.
    fn push(&self, tag: &str) -> Command;
}

/// The builders that take part, and words about those that cannot.
pub(crate) struct Builders {
    pub(crate) present: Vec<Box<dyn Builder>>,
    pub(crate) absent: Vec<String>,
}

/// Gets the builders ready, each with the base image in its store.
pub(crate) fn prepare(
    arguments: &Arguments,
    registry: &Registry,
    area: &Area,
) -> Result<Builders, Error> {
    let mut builders = Builders {
        present: Vec::new(),
        absent: Vec::new(),
    };
    let names = std::iter::once(KILN).chain(arguments.peers.0.iter().map(String::as_str));
    for name in names {
        let builder = match name {
            buildah::NAME => buildah::prepare(registry),
            docker::NAME => docker::prepare(registry),
            _ => kiln::prepare(&arguments.kiln, registry, area),
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
