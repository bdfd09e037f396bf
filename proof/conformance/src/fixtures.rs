use std::fs;
use std::path::{Path, PathBuf};

use kiln_testbed::{Bases, Kiln, Registry, Scratch};

use crate::builder::succeed;
use crate::{Builder, Error, Image, testdata};

/// What builders find outside of a context: a registry with the images that cases start from.
///
/// These are busybox and those of `testdata/conformance/images`, all made by the kiln that is
/// tried.
#[derive(Debug)]
pub struct Fixtures {
    registry: Registry,
    names: Vec<String>,
    images: Vec<Image>,
}

impl Fixtures {
    /// Starts a registry and fills it.
    ///
    /// # Errors
    ///
    /// What the machine lacks, or an image that kiln cannot make.
    pub fn new(kiln: &Path) -> Result<Self, Error> {
        // Of its own: other builders ask for its images by their full names.
        let registry = Bases::by(kiln).serve_alone(&["busybox"])?;
        let builder = Kiln::new(kiln);
        builder.knows(&registry);
        let scratch = Scratch::new();
        let mut names = vec!["busybox".to_owned()];
        let mut images = vec![
            Image::scratch(),
            read(&builder, Source::Registry("busybox"), &scratch)?,
        ];
        for directory in directories(&testdata().join("images"))? {
            let name = directory
                .file_name()
                .expect("an entry of a directory has a name")
                .to_string_lossy()
                .into_owned();
            images.push(read(&builder, Source::Context(&directory), &scratch)?);
            succeed(
                builder
                    .command()
                    .args(["build", "--quiet", "--push", "--tag"])
                    .arg(registry.image(&format!("library/{name}")))
                    .arg(&directory),
            )?;
            names.push(name);
        }
        Ok(Self {
            registry,
            names,
            images,
        })
    }

    /// Returns the registry.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Returns the short names of the images there.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Returns the images themselves, and the one without anything.
    pub fn images(&self) -> &[Image] {
        &self.images
    }
}

enum Source<'a> {
    Registry(&'a str),
    Context(&'a Path),
}

/// Lets kiln save an image and reads it.
fn read(kiln: &Kiln, source: Source<'_>, scratch: &Scratch) -> Result<Image, Error> {
    let empty = scratch.join("empty");
    let context = match source {
        Source::Context(directory) => directory,
        Source::Registry(name) => {
            fs::create_dir_all(&empty).map_err(Error::at(&empty))?;
            let dockerfile = empty.join("Dockerfile");
            fs::write(&dockerfile, format!("FROM {name}\n")).map_err(Error::at(&dockerfile))?;
            &empty
        }
    };
    let archive = scratch.join("image.tar");
    succeed(Builder::build(kiln, "", &archive).arg(context))?;
    Image::read(&archive).map_err(Error::at(&archive))
}

/// Returns the directories in a directory, sorted; none if it is missing.
fn directories(parent: &Path) -> Result<Vec<PathBuf>, Error> {
    if !parent.exists() {
        return Ok(Vec::new());
    }
    let mut directories = Vec::new();
    for entry in fs::read_dir(parent).map_err(Error::at(parent))? {
        directories.push(entry.map_err(Error::at(parent))?.path());
    }
    directories.retain(|path| path.is_dir());
    directories.sort();
    Ok(directories)
}
