use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use kiln_testbed::busybox_rootfs;

use crate::base;
use crate::error::Error;

/// The directory that holds all files of a run, and goes with it.
///
/// No directories in it are deleted before the end. On ext4, making files costs a multiple for
/// a minute after many have been deleted, which would be charged to the next builder.
#[derive(Debug)]
pub(crate) struct Area {
    directory: PathBuf,
    /// The root file systems of base images, or why there is none.
    roots: BTreeMap<&'static str, Result<PathBuf, String>>,
    names_given: Cell<u32>,
}

impl Area {
    /// Takes possession of an empty directory.
    pub(crate) fn new(directory: &Path) -> Result<Self, Error> {
        let rootfs = directory.join("rootfs");
        busybox_rootfs(&rootfs)?;
        Ok(Self {
            directory: directory.to_owned(),
            roots: BTreeMap::from([(base::BUSYBOX, Ok(rootfs))]),
            names_given: Cell::new(0),
        })
    }

    /// Notes where the root file system of a base image is, or why there is none.
    pub(crate) fn set_rootfs(&mut self, base: &'static str, rootfs: Result<PathBuf, String>) {
        self.roots.insert(base, rootfs);
    }

    /// Returns the root file system of a base image, for limits to use.
    ///
    /// # Errors
    ///
    /// Why there is no such image here.
    pub(crate) fn rootfs(&self, base: &str) -> Result<&Path, Error> {
        match self.roots.get(base) {
            Some(Ok(rootfs)) => Ok(rootfs),
            Some(Err(why)) => Err(Error::Lacking(why.clone())),
            None => Err(Error::Lacking(format!("no {base} image was asked for"))),
        }
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

    /// Removes one big file, if it is there. That takes no builder's time later, as the removal of
    /// many small ones does, and keeps the disk from filling up.
    pub(crate) fn discard(&self, file: &Path) -> Result<(), Error> {
        match fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::at(file)(error)),
            _ => Ok(()),
        }
    }

    /// Removes the blobs of an OCI layout, which are few and big.
    pub(crate) fn discard_blobs(&self, layout: &Path) -> Result<(), Error> {
        let blobs = layout.join("blobs/sha256");
        for entry in fs::read_dir(&blobs).map_err(Error::at(&blobs))? {
            self.discard(&entry.map_err(Error::at(&blobs))?.path())?;
        }
        Ok(())
    }

    /// Writes back what others left to be written, lest the next one waits for it.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        let directory = File::open(&self.directory).map_err(Error::at(&self.directory))?;
        rustix::fs::syncfs(directory).map_err(|error| Error::at(&self.directory)(error.into()))
    }
}
