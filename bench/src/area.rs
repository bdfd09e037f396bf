use std::cell::Cell;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use kiln_testbed::busybox_rootfs;

use crate::error::Error;

/// The directory that holds all files of a run, and goes with it.
///
/// Nothing in it is deleted before the end. On ext4, making files costs a multiple for a
/// minute after many have been deleted, which would be charged to whoever comes next.
#[derive(Debug)]
pub(crate) struct Area {
    directory: PathBuf,
    rootfs: PathBuf,
    names_given: Cell<u32>,
}

impl Area {
    /// Takes possession of an empty directory.
    pub(crate) fn new(directory: &Path) -> Result<Self, Error> {
        let rootfs = directory.join("rootfs");
        busybox_rootfs(&rootfs)?;
        Ok(Self {
            directory: directory.to_owned(),
            rootfs,
            names_given: Cell::new(0),
        })
    }

    /// Returns a path in the directory.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Returns the root file system of the base image, for limits to use.
    pub(crate) fn rootfs(&self) -> &Path {
        &self.rootfs
    }

    /// Returns a path where there is nothing yet.
    pub(crate) fn unused(&self, purpose: &str) -> PathBuf {
        let number = self.names_given.get();
        self.names_given.set(number + 1);
        self.directory.join(format!("{purpose}-{number}"))
    }

    /// Makes an empty directory.
    pub(crate) fn fresh(&self, purpose: &str) -> Result<PathBuf, Error> {
        let path = self.unused(purpose);
        fs::create_dir(&path).map_err(Error::at(&path))?;
        Ok(path)
    }

    /// Writes back what others left to be written, lest the next one waits for it.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        let directory = File::open(&self.directory).map_err(Error::at(&self.directory))?;
        rustix::fs::syncfs(directory).map_err(|error| Error::at(&self.directory)(error.into()))
    }
}
