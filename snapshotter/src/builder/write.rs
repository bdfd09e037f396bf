//! One file on disk, made, filled and given its metadata by a builder.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kiln_files::GuestPath;
use kiln_tree::TreeBuilder;
use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, Uid, chownat, fchmod, ioctl_ficlone, openat, utimensat,
};
use rustix::io::Errno;

use crate::build_error::{BuildError, reading, writing};
use crate::builder::{FileContent, LayerBuilder};
use crate::copy::{self, Hashed};
use crate::disk::{self, Removed};
use crate::metadata::Metadata;

impl LayerBuilder {
    pub(crate) fn parent(&self, path: &GuestPath) -> Result<Arc<OwnedFd>, BuildError> {
        self.root
            .parent(path)
            .map_err(|error| match Errno::from_io_error(&error) {
                Some(Errno::NOENT) => BuildError::NoParent(path.clone()),
                Some(Errno::NOTDIR | Errno::LOOP) => BuildError::ParentNotDirectory(path.clone()),
                _ => writing(path)(error),
            })
    }

    /// Makes room at `path`.
    pub(crate) fn clear(&self, path: &GuestPath) -> Result<(), BuildError> {
        if self.root.remove(path).map_err(writing(path))? == Removed::Directory {
            let mut state = self.state();
            let next = state.parts.len();
            state.replaced.insert(path.clone(), next);
            state.parts.push(TreeBuilder::new());
        }
        self.state().devices.remove(path);
        Ok(())
    }

    /// Makes something at `path` that does not replace what is there by itself.
    pub(crate) fn make(
        &self,
        path: &GuestPath,
        act: impl Fn(&OwnedFd, &[u8]) -> Result<(), Errno>,
    ) -> Result<(), BuildError> {
        let parent = self.parent(path)?;
        let result = match act(&parent, path.name()) {
            Err(Errno::EXIST) => {
                self.clear(path)?;
                act(&parent, path.name())
            }
            other => other,
        };
        result.map_err(writing(path))
    }

    pub(crate) fn create(&self, path: &GuestPath, mode: u16) -> Result<File, BuildError> {
        let parent = self.parent(path)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(u32::from(mode) & 0o777);
        let create = || openat(&parent, path.name(), flags, mode);
        let file = match create() {
            Err(Errno::EXIST) => {
                self.clear(path)?;
                create()
            }
            other => other,
        };
        file.map(File::from).map_err(writing(path))
    }

    /// Puts a regular file on the disk and returns length and digest of what was written.
    pub(crate) fn write_file(
        &self,
        path: &GuestPath,
        metadata: &Metadata<'_>,
        content: FileContent<'_>,
    ) -> Result<Hashed, BuildError> {
        self.stop().check().map_err(writing(path))?;
        let file = self.create(path, metadata.mode)?;
        let hashed = match content {
            FileContent::Bytes(bytes) => copy::write_bytes(&file, bytes).map_err(writing(path))?,
            FileContent::File(source) => self.copy(source, &file, None).map_err(reading(path))?,
            FileContent::Known(source, hashed) => self
                .copy(source, &file, Some(hashed))
                .map_err(reading(path))?,
        };
        self.set_metadata(&file, metadata).map_err(writing(path))?;
        Ok(hashed)
    }

    fn copy(&self, source: &File, target: &File, known: Option<Hashed>) -> io::Result<Hashed> {
        if self.reflinks.load(Ordering::Relaxed) {
            match ioctl_ficlone(target, source) {
                Ok(()) => return known.map_or_else(|| copy::hash(target, self.stop()), Ok),
                // Another file system, or one that cannot share extents: it will say so each time.
                Err(_) => self.reflinks.store(false, Ordering::Relaxed),
            }
        }
        match known {
            Some(hashed) if hashed.size_bytes >= copy::LARGE => {
                copy::copy_known(source, target, hashed, self.stop())
            }
            _ => copy::copy_hashing(source, target, self.stop()),
        }
    }

    pub(crate) fn set_metadata(&self, file: &File, metadata: &Metadata<'_>) -> io::Result<()> {
        if (metadata.uid, metadata.gid) != self.owner {
            disk::set_owner(file, metadata.uid, metadata.gid)?;
        }
        // After the owner: a change of owner clears set-user-id. (chown(2))
        if metadata.mode & (0o7000 | self.umask) != 0 {
            fchmod(file, Mode::from_raw_mode(metadata.mode.into()))?;
        }
        disk::set_xattrs(file.as_fd(), metadata.xattrs)?;
        disk::set_mtime(file, metadata.mtime)
    }

    /// For what cannot be opened to be changed: links, devices and pipes.
    pub(crate) fn set_metadata_by_name(
        &self,
        path: &GuestPath,
        metadata: &Metadata<'_>,
    ) -> Result<(), BuildError> {
        let parent = self.parent(path)?;
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let set = || -> io::Result<()> {
            if (metadata.uid, metadata.gid) != self.owner {
                disk::as_far_as_allowed(chownat(
                    &parent,
                    path.name(),
                    Some(Uid::from_raw(metadata.uid)),
                    Some(Gid::from_raw(metadata.gid)),
                    flags,
                ))?;
            }
            let stat = rustix::fs::statat(&parent, path.name(), flags)?;
            if !disk::file_type(&stat).is_symlink() {
                let mode = Mode::from_raw_mode(metadata.mode.into());
                rustix::fs::chmodat(&parent, path.name(), mode, AtFlags::empty())?;
            }
            let times = disk::timestamps(metadata.mtime);
            Ok(utimensat(&parent, path.name(), &times, flags)?)
        };
        set().map_err(writing(path))
    }
}
