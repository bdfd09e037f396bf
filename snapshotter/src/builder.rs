//! Layers made file by file: what COPY, ADD, WORKDIR and archives become.
//!
//! Files go straight to where the finished layer keeps them (a directory in `work/` that is
//! renamed as a whole), each written once and hashed in the same pass. What costs is the file
//! system making inodes, so per file there are open, write, close, one call for the time, and
//! calls for owner and mode only where they differ from what a new file gets anyway; several
//! threads may add at once. Directories get their metadata last, when nothing is put into them any
//! more.

pub(crate) mod files; // files of a context, digested while they are copied
pub(crate) mod state; // entries collected so far, and the index made of them
mod write; // one file created, filled and given its metadata

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kiln_cache::WorkDir;
use kiln_files::GuestPath;
use kiln_oci::Timestamp;
use kiln_threads::Stop;
use kiln_tree::{Device, Entry, NodeKind, Tree, Xattrs};
use rustix::fs::{AtFlags, FileType, Mode, linkat, makedev, mkdirat, mknodat, symlinkat};
use rustix::io::Errno;

use crate::build_error::{BuildError, reading, writing};
use crate::builder::state::{
    BuilderState, DeviceNodeKind, check_parents, finish_directories, merge,
};
use crate::copy::{self, Hashed};
use crate::disk::{self, Root};
use crate::error::LayerError;
use crate::layer::{Layer, LayerStore};
use crate::metadata::Metadata;
use crate::owners::MappedIds;
use crate::place::make_diff_directory;
use crate::publish::UnpublishedFiles;
use crate::usage;

/// The source of a file's bytes.
#[derive(Debug)]
pub enum FileContent<'a> {
    /// Memory.
    Bytes(&'a [u8]),
    /// An open file, read from its start.
    File(&'a File),
    /// An open file whose content was hashed already; for large ones spares hashing it again.
    Known(&'a File, Hashed),
}

/// Collects the files of a new layer. Several threads may add at once.
///
/// The directories above a path have to be added before it. Whatever is at a path already is
/// replaced, a directory with everything in it unless another directory comes. Dropped without
/// [`LayerBuilder::finish`], nothing remains.
#[derive(Debug)]
pub struct LayerBuilder {
    pub(crate) layers: LayerStore,
    pub(crate) root: Root,
    /// Owner of files made in `root`, and the mode bits that the umask takes from them.
    pub(crate) owner: (u32, u32),
    pub(crate) umask: u16,
    pub(crate) reflinks: AtomicBool,
    pub(crate) state: Mutex<BuilderState>,
    /// Last: the directory goes when everything else is closed.
    pub(crate) work: WorkDir,
}

impl LayerStore {
    /// Starts a new layer.
    ///
    /// # Errors
    /// When no directory can be made for it.
    pub fn builder(&self) -> Result<LayerBuilder, LayerError> {
        let work = self.work()?;
        let (path, stat) = make_diff_directory(&work)?;
        let root = Root::open(&path).map_err(LayerError::at(&path))?;
        Ok(LayerBuilder {
            layers: self.clone(),
            root,
            owner: (stat.st_uid, stat.st_gid),
            umask: !(stat.st_mode as u16) & 0o777,
            reflinks: AtomicBool::new(true),
            state: Mutex::default(),
            work,
        })
    }
}

impl LayerBuilder {
    /// Returns what is looked at between two pieces of a file.
    #[must_use]
    pub fn stop(&self) -> &Stop {
        self.layers.store().stop()
    }

    /// Adds a directory, or changes the metadata of one that was added.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn add_directory(
        &self,
        path: &GuestPath,
        metadata: &Metadata<'_>,
    ) -> Result<(), BuildError> {
        self.add_directory_as(path, metadata, NodeKind::DIRECTORY)
    }

    /// Adds a directory that hides everything the layers below have in it.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn add_opaque_directory(
        &self,
        path: &GuestPath,
        metadata: &Metadata<'_>,
    ) -> Result<(), BuildError> {
        let kind = NodeKind::Directory {
            opaque: true,
            implied: false,
        };
        self.add_directory_as(path, metadata, kind)
    }

    /// Adds a directory only for what is in it: it remains what the layers below say, and has this
    /// metadata if they do not.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn add_implied_directory(
        &self,
        path: &GuestPath,
        metadata: &Metadata<'_>,
    ) -> Result<(), BuildError> {
        let kind = NodeKind::Directory {
            opaque: false,
            implied: true,
        };
        self.add_directory_as(path, metadata, kind)
    }

    fn add_directory_as(
        &self,
        path: &GuestPath,
        metadata: &Metadata<'_>,
        kind: NodeKind<'_>,
    ) -> Result<(), BuildError> {
        if !path.is_root() {
            let parent = self.parent(path)?;
            let made = |name: &[u8]| mkdirat(&parent, name, Mode::from_raw_mode(0o755));
            let result = match made(path.name()) {
                Err(Errno::EXIST) => match self.root.stat(path) {
                    Ok(stat) if disk::file_type(&stat).is_dir() => Ok(()),
                    _ => {
                        self.clear(path)?;
                        made(path.name())
                    }
                },
                other => other,
            };
            result.map_err(writing(path))?;
        }
        self.push(&metadata.entry(path, kind))
    }

    /// Adds a regular file and returns length and digest of what was written.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn add_file(
        &self,
        path: &GuestPath,
        metadata: &Metadata<'_>,
        content: FileContent<'_>,
    ) -> Result<Hashed, BuildError> {
        let hashed = self.write_file(path, metadata, content)?;
        self.push_file(path, metadata, hashed)?;
        Ok(hashed)
    }

    /// Adds a regular file whose bytes come from a stream.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn add_stream(
        &self,
        path: &GuestPath,
        metadata: &Metadata<'_>,
        content: &mut dyn Read,
    ) -> Result<Hashed, BuildError> {
        let file = self.create(path, metadata.mode)?;
        let hashed = copy::copy_stream(content, &file, self.stop()).map_err(reading(path))?;
        self.set_metadata(&file, metadata).map_err(writing(path))?;
        self.push_file(path, metadata, hashed)?;
        Ok(hashed)
    }

    fn push_file(
        &self,
        path: &GuestPath,
        metadata: &Metadata<'_>,
        content: Hashed,
    ) -> Result<(), BuildError> {
        let kind = NodeKind::File {
            size: content.size_bytes,
            hash: content.hash,
        };
        self.push(&metadata.entry(path, kind))
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn add_symlink(
        &self,
        path: &GuestPath,
        metadata: &Metadata<'_>,
        target: &[u8],
    ) -> Result<(), BuildError> {
        let metadata = Metadata {
            mode: 0o777,
            ..*metadata
        };
        self.make(path, |parent, name| symlinkat(target, parent, name))?;
        self.set_metadata_by_name(path, &metadata)?;
        self.push(&metadata.entry(path, NodeKind::Symlink { target }))
    }

    /// Adds a further name of something that was added before, and shares its metadata.
    ///
    /// # Errors
    /// [`BuildError::DanglingHardLink`] if it was not.
    pub fn add_hard_link(&self, path: &GuestPath, target: &GuestPath) -> Result<(), BuildError> {
        let dangling = || BuildError::DanglingHardLink {
            path: path.clone(),
            target: target.clone(),
        };
        let stat = self.root.stat(target).map_err(|_| dangling())?;
        if disk::file_type(&stat).is_dir() {
            return Err(dangling());
        }
        if path == target {
            return Ok(());
        }
        let source = self.parent(target)?;
        self.make(path, |parent, name| {
            linkat(&source, target.name(), parent, name, AtFlags::empty())
        })?;
        let device = self.state().devices.get(target).copied();
        let link;
        let kind = match (device, disk::file_type(&stat)) {
            (Some((kind, device)), _) => {
                self.state().devices.insert(path.clone(), (kind, device));
                device_kind(kind, device)
            }
            (None, FileType::Symlink) => {
                link = rustix::fs::readlinkat(&source, target.name(), Vec::new())
                    .map_err(writing(path))?
                    .into_bytes();
                NodeKind::Symlink { target: &link }
            }
            (None, FileType::Fifo) => NodeKind::Fifo,
            (None, FileType::CharacterDevice) => NodeKind::Whiteout,
            (None, _) => {
                self.state().has_hard_links = true;
                NodeKind::HardLink {
                    target: target.as_bytes(),
                }
            }
        };
        let lost = self.state().lost_owners.get(target).copied();
        let (uid, gid) = lost.unwrap_or((stat.st_uid, stat.st_gid));
        // Of a regular file, `finish` takes the metadata from its first name.
        let metadata = Metadata {
            mode: (stat.st_mode & 0o7777) as u16,
            uid,
            gid,
            mtime: disk::mtime_of(&stat),
            xattrs: Xattrs::default(),
        };
        self.push(&metadata.entry(path, kind))
    }

    /// Adds a device. Where this process may not make one, an empty file holds its place and only
    /// the index knows.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn add_device(
        &self,
        path: &GuestPath,
        metadata: &Metadata<'_>,
        kind: DeviceNodeKind,
        device: Device,
    ) -> Result<(), BuildError> {
        if kind == DeviceNodeKind::Char && (device.major, device.minor) == (0, 0) {
            return Err(BuildError::Whiteout(path.clone()));
        }
        let file_type = match kind {
            DeviceNodeKind::Char => FileType::CharacterDevice,
            DeviceNodeKind::Block => FileType::BlockDevice,
        };
        self.make(path, |parent, name| {
            let number = makedev(device.major, device.minor);
            match mknodat(parent, name, file_type, Mode::empty(), number) {
                Err(Errno::PERM) => mknodat(parent, name, FileType::RegularFile, Mode::empty(), 0),
                other => other,
            }
        })?;
        self.set_metadata_by_name(path, metadata)?;
        self.state().devices.insert(path.clone(), (kind, device));
        self.push(&metadata.entry(path, device_kind(kind, device)))
    }

    /// Adds a named pipe.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn add_fifo(&self, path: &GuestPath, metadata: &Metadata<'_>) -> Result<(), BuildError> {
        self.make(path, |parent, name| {
            mknodat(parent, name, FileType::Fifo, Mode::empty(), 0)
        })?;
        self.set_metadata_by_name(path, metadata)?;
        self.push(&metadata.entry(path, NodeKind::Fifo))
    }

    /// Hides what the layers below have at `path`.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn add_whiteout(&self, path: &GuestPath) -> Result<(), BuildError> {
        self.make(path, |parent, name| {
            let device = makedev(0, 0);
            match mknodat(
                parent,
                name,
                FileType::CharacterDevice,
                Mode::empty(),
                device,
            ) {
                // Where whiteouts cannot be made nothing stacks layers, and the index knows.
                Err(Errno::PERM) => Ok(()),
                other => other,
            }
        })?;
        let metadata = Metadata::root_owned(0, Timestamp::EPOCH);
        self.push(&metadata.entry(path, NodeKind::Whiteout))
    }

    /// Adds what an entry of an index describes, under a path that may be another. `open` opens the
    /// file that has the content of a regular one.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn add_entry(
        &self,
        path: &GuestPath,
        entry: &Entry<'_>,
        open: impl FnOnce() -> Result<File, LayerError>,
    ) -> Result<(), BuildError> {
        let metadata = Metadata::of(entry);
        match entry.kind {
            NodeKind::File { size, hash } => {
                let known = Hashed {
                    size_bytes: size,
                    hash,
                };
                self.add_file(path, &metadata, FileContent::Known(&open()?, known))?;
                Ok(())
            }
            NodeKind::HardLink { target } => self.add_hard_link(path, &GuestPath::new(target)),
            NodeKind::Directory { .. } => self.add_directory_as(path, &metadata, entry.kind),
            NodeKind::Symlink { target } => self.add_symlink(path, &metadata, target),
            NodeKind::CharDevice(device) => {
                self.add_device(path, &metadata, DeviceNodeKind::Char, device)
            }
            NodeKind::BlockDevice(device) => {
                self.add_device(path, &metadata, DeviceNodeKind::Block, device)
            }
            NodeKind::Fifo => self.add_fifo(path, &metadata),
            NodeKind::Whiteout => self.add_whiteout(path),
        }
    }

    /// Makes a directory that was added hide everything the layers below have in it, now or when
    /// it is added again.
    pub fn mark_opaque(&self, path: &GuestPath) {
        self.state().opaque.insert(path.clone());
    }

    /// Counts paths that the caller keeps for entries to come like entries that are there.
    ///
    /// # Errors
    /// [`BuildError::TooManyFiles`].
    pub(crate) fn count_kept<'p>(
        &self,
        paths: impl IntoIterator<Item = &'p GuestPath>,
    ) -> Result<(), BuildError> {
        /// Bytes that a path takes in memory besides its text, at least.
        const OVERHEAD: usize = 64;
        let paths = paths.into_iter();
        let bytes = paths.map(|path| path.as_bytes().len() + OVERHEAD).sum();
        self.state().count(bytes)
    }

    /// Says what was added at `path`.
    #[must_use]
    pub fn look(&self, path: &GuestPath) -> Added {
        let Ok(stat) = self.root.stat(path) else {
            return Added::Nothing;
        };
        match disk::file_type(&stat) {
            FileType::Directory => Added::Directory,
            FileType::Symlink => {
                let target = self.root.parent(path).and_then(|parent| {
                    Ok(rustix::fs::readlinkat(&parent, path.name(), Vec::new())?)
                });
                target.map_or(Added::Nothing, |target| Added::Symlink(target.into_bytes()))
            }
            _ => Added::Other,
        }
    }

    /// Makes the layer visible and returns it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(self) -> Result<Layer, BuildError> {
        self.publish(None)
    }

    /// Makes a layer visible that has everything of `below` besides what was added, or what was
    /// added instead. Its other files stay where `below` has them, which must be in one place;
    /// directories must have been added as directories.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish_on(self, below: &Layer) -> Result<Layer, BuildError> {
        self.publish(Some(below))
    }

    fn publish(self, below: Option<&Layer>) -> Result<Layer, BuildError> {
        let Self {
            layers,
            root,
            owner,
            umask: _,
            reflinks: _,
            state,
            work,
        } = self;
        let stop = layers.store().stop();
        let mut state = state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let has_hard_links = state.has_hard_links;
        let digested = state.digested.take();
        let mut tree = merge(state);
        check_parents(&tree)?;
        if has_hard_links {
            tree = crate::hard_link::order(&tree, &root, stop)?;
        }
        finish_directories(&tree, &root, owner)?;
        let usage = usage::of_files(&root, &tree);
        if let Some(below) = below {
            tree = below.tree()?.with(&tree);
        }
        let lacks_owners = !MappedIds::of_this_process().can_store_all(&tree);
        let files = UnpublishedFiles {
            diff: root.path(),
            donor: below.map(Layer::id),
            lacks_owners,
            usage,
        };
        let layer = layers.publish(tree, &files, &work)?;
        if let Some((id, digested)) = digested
            && id == layer.id()
        {
            layer.remember_digested(&digested)?;
        }
        Ok(layer)
    }

    /// Returns the files as a directory that is no layer, their index, and what the directory
    /// lives in.
    pub(crate) fn into_directory(self) -> Result<(PathBuf, Tree, WorkDir), BuildError> {
        let state = self
            .state
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let tree = merge(state);
        finish_directories(&tree, &self.root, self.owner)?;
        Ok((self.root.path().to_owned(), tree, self.work))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, BuilderState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, entry: &Entry<'_>) -> Result<(), BuildError> {
        self.layers.store().count(1);
        let mut state = self.state();
        if !MappedIds::of_this_process().can_store(entry.uid, entry.gid) {
            let owner = (entry.uid, entry.gid);
            state.lost_owners.insert(entry.guest_path(), owner);
        }
        state.push(entry)
    }
}

/// The entry that a builder holds at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Added {
    /// Nothing.
    Nothing,
    /// A directory.
    Directory,
    /// A symbolic link, and its text.
    Symlink(Vec<u8>),
    /// Something else.
    Other,
}

fn device_kind<'a>(kind: DeviceNodeKind, device: Device) -> NodeKind<'a> {
    match kind {
        DeviceNodeKind::Char => NodeKind::CharDevice(device),
        DeviceNodeKind::Block => NodeKind::BlockDevice(device),
    }
}
