//! The directories that hold the files of a layer: one, or two of which one is an earlier layer's.
//!
//! A copy of a directory of which little changed makes a layer that has nearly all its files in
//! common with the one that the same step made before. It needs no further name for each of them:
//! it keeps what differs, and lies on the files of the other, its *donor*, as it would in an overlay.
//!
//! ```text
//! layers/<2 hex>/<layer id>/diff/   the files; those that differ if there is an `upon`
//! layers/<2 hex>/<layer id>/upon    text: the id of the donor
//! ```
//!
//! Such a layer shows every path of the one it lies on, directories as directories, so nothing
//! has to be hidden. The one below has all its files itself: there are never more than two
//! directories, and it must stay as long as what lies on it.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use kiln_files::GuestPath;
use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::disk::Root;
use crate::error::LayerError;

/// The file in a layer's directory that names its donor.
pub(crate) const DONOR: &str = "upon";

/// The directories that hold the files of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerFiles {
    /// The directory of the layer itself.
    pub(crate) own: PathBuf,
    /// That of the donor, if it has one.
    pub(crate) donated: Option<PathBuf>,
}

impl LayerFiles {
    pub(crate) fn in_one(own: PathBuf) -> Self {
        Self { own, donated: None }
    }

    /// Returns the directories in overlayfs form, topmost first.
    pub fn directories(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(self.own.as_path()).chain(self.donated.as_deref())
    }

    /// Returns where something is that the layer has at `path`.
    #[must_use]
    pub fn path(&self, path: &GuestPath) -> PathBuf {
        self.directory_of(path).join(path.as_relative())
    }

    /// Opens a regular file of the layer.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open_file(&self, path: &GuestPath) -> Result<File, LayerError> {
        let directory = self.directory_of(path);
        Root::open(directory)
            .and_then(|root| root.read(path))
            .map_err(LayerError::at(directory.join(path.as_relative())))
    }

    /// Returns the directory that has what the layer has at `path`.
    pub(crate) fn directory_of(&self, path: &GuestPath) -> &Path {
        let is_own = || self.own.join(path.as_relative()).symlink_metadata().is_ok();
        match &self.donated {
            Some(donated) if !is_own() => donated,
            _ => &self.own,
        }
    }

    /// Opens the directories.
    pub(crate) fn open(&self) -> Result<OpenFiles, LayerError> {
        let open = |path: &Path| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            openat(CWD, path, flags, Mode::empty()).map_err(LayerError::at(path))
        };
        let own = open(&self.own)?;
        let Some(donated) = &self.donated else {
            return Ok(OpenFiles { own, donated: None });
        };
        let mut names = HashSet::new();
        for found in walkdir::WalkDir::new(&self.own).min_depth(1) {
            let found = found.map_err(|error| LayerError::at(&self.own)(error))?;
            if !found.file_type().is_dir()
                && let Ok(name) = found.path().strip_prefix(&self.own)
            {
                names.insert(name.as_os_str().as_bytes().to_owned());
            }
        }
        let donated = Some((open(donated)?, names));
        Ok(OpenFiles { own, donated })
    }
}

/// The directories of a layer, open.
#[derive(Debug)]
pub(crate) struct OpenFiles {
    own: OwnedFd,
    /// The donor's, and the few files that are not read from there.
    donated: Option<(OwnedFd, HashSet<Vec<u8>>)>,
}

impl OpenFiles {
    /// Opens the regular file at a clean path of the layer for reading.
    pub(crate) fn file(&self, path: &[u8]) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = match &self.donated {
            Some((donated, own)) if !own.contains(path) => donated,
            _ => &self.own,
        };
        Ok(openat(root, path, flags, Mode::empty())?.into())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read as _;

    use super::*;

    #[test]
    fn open_files_come_from_the_directory_that_has_them_and_through_no_link() {
        let scratch = tempfile::tempdir().unwrap();
        let (own, rest) = (scratch.path().join("own"), scratch.path().join("rest"));
        for (directory, text) in [(&own, "own"), (&rest, "rest")] {
            fs::create_dir_all(directory.join("d")).unwrap();
            fs::write(directory.join("d/changed"), text).unwrap();
        }
        fs::write(rest.join("d/kept"), "rest").unwrap();
        fs::write(own.join("new"), "own").unwrap();
        std::os::unix::fs::symlink("changed", own.join("d/link")).unwrap();
        let files = LayerFiles {
            own,
            donated: Some(rest),
        };
        let open = files.open().unwrap();
        for (path, expected) in [("d/changed", "own"), ("d/kept", "rest"), ("new", "own")] {
            let mut text = String::new();
            let mut file = open.file(path.as_bytes()).unwrap();
            file.read_to_string(&mut text).unwrap();
            assert_eq!(text, expected, "{path}");
        }
        let error = open.file(b"d/link").unwrap_err();
        assert_eq!(
            error.raw_os_error(),
            Some(rustix::io::Errno::LOOP.raw_os_error())
        );
    }
}
