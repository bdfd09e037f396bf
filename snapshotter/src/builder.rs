//! Layers made file by file: what COPY, ADD, WORKDIR and archives become.
//!
//! Files go straight to where the finished layer keeps them (a directory in `work/` that is
//! renamed as a whole), each written once and hashed in the same pass. What costs is the file
//! system making inodes, so per file there are open, write, close, one call for the time, and
//! calls for owner and mode only where they differ from what a new file gets anyway; several
//! threads may add at once. Directories get their metadata last, when nothing is put into them any
//! more.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kiln_cache::{Device, Entry, GuestPath, Kind, Timestamp, Tree, TreeBuilder, WorkDir, Xattrs};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid, chownat, fchmod, ioctl_ficlone, linkat,
    makedev, mkdirat, mknodat, openat, symlinkat, utimensat,
};
use rustix::io::Errno;

use crate::copy::{self, Hashed};
use crate::disk::{self, Removed, Root};
use crate::error::LayerError;
use crate::layer::{Layer, LayerStore, make_diff_directory};

/// Why a file could not be added to a layer.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The containing directory was not added before.
    #[error("{0} is added before its directory")]
    NoParent(GuestPath),
    /// The containing directory is something else in this layer.
    #[error("{0} cannot be added: its parent is not a directory")]
    ParentNotDirectory(GuestPath),
    /// A hard link to something that is not in the layer.
    #[error("hard link {path} points to {target}, which is not in the layer")]
    DanglingHardLink {
        /// The link.
        path: GuestPath,
        /// Where it points.
        target: GuestPath,
    },
    /// The file to be copied cannot be read.
    #[error("cannot read the content of {path}")]
    Content {
        /// Where it was to go.
        path: GuestPath,
        /// What went wrong.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write {path} into a layer")]
    Write {
        /// Where it was to go.
        path: GuestPath,
        /// What went wrong.
        source: io::Error,
    },
    /// The layer as a whole cannot be made.
    #[error(transparent)]
    Layer(#[from] LayerError),
}

/// What a file has besides its kind and content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata<'a> {
    /// Permission bits with set-user-id, set-group-id and sticky.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of last modification.
    pub mtime: Timestamp,
    /// Extended attributes.
    pub xattrs: Xattrs<'a>,
}

impl<'a> Metadata<'a> {
    /// Returns the metadata of something that belongs to root and has no extended attributes.
    #[must_use]
    pub fn root_owned(mode: u16, mtime: Timestamp) -> Self {
        Self {
            mode,
            uid: 0,
            gid: 0,
            mtime,
            xattrs: Xattrs::default(),
        }
    }

    /// Returns the metadata of an entry.
    #[must_use]
    pub fn of(entry: &Entry<'a>) -> Self {
        Self {
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
            xattrs: entry.xattrs,
        }
    }

    fn entry<'b>(&self, path: &'b GuestPath, kind: Kind<'b>) -> Entry<'b>
    where
        'a: 'b,
    {
        Entry {
            path: path.as_bytes(),
            kind,
            mode: self.mode & 0o7777,
            uid: self.uid,
            gid: self.gid,
            mtime: self.mtime,
            xattrs: self.xattrs,
        }
    }
}

/// Where a file's bytes come from.
#[derive(Debug)]
pub enum Content<'a> {
    /// Memory.
    Bytes(&'a [u8]),
    /// An open file, read from its start.
    File(&'a File),
    /// An open file whose content was hashed already; for large ones spares hashing it again.
    Known(&'a File, Hashed),
    /// A file of the store, which is never changed: it may become a further name of the same
    /// inode. Its extended attributes must be those asked for.
    Stored(&'a Path, Hashed),
}

/// Collects the files of a new layer. Several threads may add at once.
///
/// The directories above a path have to be added before it. Whatever is at a path already is
/// replaced, a directory with everything in it unless another directory comes. Dropped without
/// [`LayerBuilder::finish`], nothing remains.
#[derive(Debug)]
pub struct LayerBuilder {
    layers: LayerStore,
    root: Root,
    /// Owner, and the mode bits that the umask takes, of whatever is made in `root`.
    owner: (u32, u32),
    umask: u16,
    reflinks: AtomicBool,
    state: Mutex<State>,
    /// Last: the directory goes when everything else is closed.
    work: WorkDir,
}

#[derive(Debug, Default)]
struct State {
    /// Entries in order of arrival; a new part starts when a directory is replaced.
    parts: Vec<TreeBuilder>,
    /// Directories that were replaced, and the first part that this does not concern.
    replaced: HashMap<GuestPath, usize>,
    /// Directories that hide what is below them.
    opaque: HashSet<GuestPath>,
    has_hard_links: bool,
    /// Devices by path: the disk may not be able to tell.
    devices: HashMap<GuestPath, (DeviceKind, Device)>,
}

/// The two kinds of devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// Character.
    Char,
    /// Block.
    Block,
}

impl LayerStore {
    /// Starts a new layer.
    ///
    /// # Errors
    /// When no directory can be made for it.
    pub fn builder(&self) -> Result<LayerBuilder, LayerError> {
        let work = self.work()?;
        // What a file is made with shows in what a directory gets of mode 0777.
        let sample = work.path().join("sample");
        let failed = LayerError::at(&sample);
        let stat = rustix::fs::mkdir(&sample, Mode::from_raw_mode(0o777))
            .and_then(|()| rustix::fs::stat(&sample))
            .map_err(failed)?;
        let path = make_diff_directory(&work)?;
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
    /// Adds a directory, or changes the metadata of one that was added.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn add_directory(
        &self,
        path: &GuestPath,
        metadata: &Metadata<'_>,
    ) -> Result<(), BuildError> {
        self.add_directory_as(path, metadata, false)
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
        self.add_directory_as(path, metadata, true)
    }

    fn add_directory_as(
        &self,
        path: &GuestPath,
        metadata: &Metadata<'_>,
        opaque: bool,
    ) -> Result<(), BuildError> {
        if !path.is_root() {
            let parent = self.parent(path)?;
            let made = |name: &[u8]| mkdirat(&parent, name, Mode::from_raw_mode(0o755));
            let result = match made(path.name()) {
                Err(Errno::EXIST) => match self.root.stat(path) {
                    Ok(stat) if file_type(&stat).is_dir() => Ok(()),
                    _ => {
                        self.clear(path)?;
                        made(path.name())
                    }
                },
                other => other,
            };
            result.map_err(writing(path))?;
        }
        self.push(&metadata.entry(path, Kind::Directory { opaque }));
        Ok(())
    }

    /// Adds a regular file and returns length and digest of what was written.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn add_file(
        &self,
        path: &GuestPath,
        metadata: &Metadata<'_>,
        content: Content<'_>,
    ) -> Result<Hashed, BuildError> {
        if let Content::Stored(source, hashed) = &content {
            if self.link_stored(path, metadata, source)? {
                let (size, hash) = (hashed.size_bytes, hashed.hash);
                self.push(&metadata.entry(path, Kind::File { size, hash }));
                return Ok(*hashed);
            }
            let file = File::open(source).map_err(reading(path))?;
            return self.add_file(path, metadata, Content::Known(&file, *hashed));
        }
        let file = self.create(path, metadata.mode)?;
        let hashed = match content {
            Content::Bytes(bytes) => copy::write_bytes(&file, bytes).map_err(writing(path))?,
            Content::File(source) => self.copy(source, &file, None).map_err(reading(path))?,
            Content::Known(source, hashed) => self
                .copy(source, &file, Some(hashed))
                .map_err(reading(path))?,
            Content::Stored(..) => unreachable!("handled above"),
        };
        self.complete(path, metadata, &file, hashed)
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
        let hashed = copy::copy_hashing(content, &file).map_err(reading(path))?;
        self.complete(path, metadata, &file, hashed)
    }

    fn complete(
        &self,
        path: &GuestPath,
        metadata: &Metadata<'_>,
        file: &File,
        hashed: Hashed,
    ) -> Result<Hashed, BuildError> {
        self.set_metadata(file, metadata).map_err(writing(path))?;
        let (size, hash) = (hashed.size_bytes, hashed.hash);
        self.push(&metadata.entry(path, Kind::File { size, hash }));
        Ok(hashed)
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
        self.push(&metadata.entry(path, Kind::Symlink { target }));
        Ok(())
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
        if file_type(&stat).is_dir() {
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
        let kind = match (device, file_type(&stat)) {
            (Some((kind, device)), _) => {
                self.state().devices.insert(path.clone(), (kind, device));
                device_kind(kind, device)
            }
            (None, FileType::Symlink) => {
                link = rustix::fs::readlinkat(&source, target.name(), Vec::new())
                    .map_err(writing(path))?
                    .into_bytes();
                Kind::Symlink { target: &link }
            }
            (None, FileType::Fifo) => Kind::Fifo,
            (None, FileType::CharacterDevice) => Kind::Whiteout,
            (None, _) => {
                self.state().has_hard_links = true;
                Kind::HardLink {
                    target: target.as_bytes(),
                }
            }
        };
        // Of a regular file, `finish` takes the metadata from its first name.
        let metadata = Metadata {
            mode: (stat.st_mode & 0o7777) as u16,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: disk::mtime_of(&stat),
            xattrs: Xattrs::default(),
        };
        self.push(&metadata.entry(path, kind));
        Ok(())
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
        kind: DeviceKind,
        device: Device,
    ) -> Result<(), BuildError> {
        let file_type = match kind {
            DeviceKind::Char => FileType::CharacterDevice,
            DeviceKind::Block => FileType::BlockDevice,
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
        self.push(&metadata.entry(path, device_kind(kind, device)));
        Ok(())
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
        self.push(&metadata.entry(path, Kind::Fifo));
        Ok(())
    }

    /// Hides what the layers below have at `path`.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn add_whiteout(&self, path: &GuestPath) -> Result<(), BuildError> {
        self.make(path, |parent, name| {
            mknodat(
                parent,
                name,
                FileType::CharacterDevice,
                Mode::empty(),
                makedev(0, 0),
            )
        })?;
        let metadata = Metadata::root_owned(0, Timestamp::EPOCH);
        self.push(&metadata.entry(path, Kind::Whiteout));
        Ok(())
    }

    /// Adds what an entry of an index describes, under a path that may be another. `stored` says
    /// where the store keeps the content of a file.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn add_entry(
        &self,
        path: &GuestPath,
        entry: &Entry<'_>,
        stored: impl FnOnce() -> Result<PathBuf, LayerError>,
    ) -> Result<(), BuildError> {
        let metadata = Metadata::of(entry);
        match entry.kind {
            Kind::File { size, hash } => {
                let hashed = Hashed {
                    size_bytes: size,
                    hash,
                };
                self.add_file(path, &metadata, Content::Stored(&stored()?, hashed))?;
                Ok(())
            }
            Kind::HardLink { target } => self.add_hard_link(path, &GuestPath::new(target)),
            Kind::Directory { opaque: false } => self.add_directory(path, &metadata),
            Kind::Directory { opaque: true } => self.add_opaque_directory(path, &metadata),
            Kind::Symlink { target } => self.add_symlink(path, &metadata, target),
            Kind::CharDevice(device) => self.add_device(path, &metadata, DeviceKind::Char, device),
            Kind::BlockDevice(device) => {
                self.add_device(path, &metadata, DeviceKind::Block, device)
            }
            Kind::Fifo => self.add_fifo(path, &metadata),
            Kind::Whiteout => self.add_whiteout(path),
        }
    }

    /// Makes a directory that was added hide everything the layers below have in it, now or when
    /// it is added again.
    pub fn mark_opaque(&self, path: &GuestPath) {
        self.state().opaque.insert(path.clone());
    }

    /// Says what was added at `path`.
    #[must_use]
    pub fn look(&self, path: &GuestPath) -> Added {
        let Ok(stat) = self.root.stat(path) else {
            return Added::Nothing;
        };
        match file_type(&stat) {
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
        let Self {
            layers,
            root,
            owner,
            umask: _,
            reflinks: _,
            state,
            work,
        } = self;
        let state = state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let has_hard_links = state.has_hard_links;
        let mut tree = merge(state);
        check_parents(&tree)?;
        if has_hard_links {
            tree = crate::hard_link::order(&tree, &root)?;
        }
        finish_directories(&tree, &root, owner)?;
        Ok(layers.publish(tree, Some(root.path()), &work)?)
    }

    /// Returns the files as a directory that is no layer, and what it lives in.
    pub(crate) fn into_directory(self) -> Result<(PathBuf, WorkDir), BuildError> {
        let state = self
            .state
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        finish_directories(&merge(state), &self.root, self.owner)?;
        Ok((self.root.path().to_owned(), self.work))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, entry: &Entry<'_>) {
        let mut state = self.state();
        if state.parts.is_empty() {
            state.parts.push(TreeBuilder::new());
        }
        let last = state.parts.last_mut().expect("at least one part");
        last.push(entry);
    }

    fn parent(&self, path: &GuestPath) -> Result<Arc<OwnedFd>, BuildError> {
        self.root
            .parent(path)
            .map_err(|error| match Errno::from_io_error(&error) {
                Some(Errno::NOENT) => BuildError::NoParent(path.clone()),
                Some(Errno::NOTDIR | Errno::LOOP) => BuildError::ParentNotDirectory(path.clone()),
                _ => writing(path)(error),
            })
    }

    /// Makes room at `path`.
    fn clear(&self, path: &GuestPath) -> Result<(), BuildError> {
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
    fn make(
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

    fn create(&self, path: &GuestPath, mode: u16) -> Result<File, BuildError> {
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

    fn copy(&self, source: &File, target: &File, known: Option<Hashed>) -> io::Result<Hashed> {
        if self.reflinks.load(Ordering::Relaxed) {
            match ioctl_ficlone(target, source) {
                Ok(()) => return known.map_or_else(|| copy::hash(target), Ok),
                // Another file system, or one that cannot share extents: it will say so each time.
                Err(_) => self.reflinks.store(false, Ordering::Relaxed),
            }
        }
        match known {
            Some(hashed) if hashed.size_bytes >= copy::LARGE => {
                copy::copy_known(source, target, hashed)
            }
            _ => copy::copy_hashing(&mut { source }, target),
        }
    }

    /// Makes `path` a further name of a file in the store, if that has this very metadata.
    fn link_stored(
        &self,
        path: &GuestPath,
        metadata: &Metadata<'_>,
        source: &Path,
    ) -> Result<bool, BuildError> {
        let Ok(stat) = rustix::fs::lstat(source) else {
            return Ok(false);
        };
        let same = stat.st_mode & 0o7777 == u32::from(metadata.mode)
            && (stat.st_uid, stat.st_gid) == (metadata.uid, metadata.gid)
            && disk::mtime_of(&stat) == metadata.mtime
            && file_type(&stat).is_file();
        if !same {
            return Ok(false);
        }
        let linked = self.make(path, |parent, name| {
            linkat(rustix::fs::CWD, source, parent, name, AtFlags::empty())
        });
        match linked {
            Ok(()) => Ok(true),
            // Too many links, another file system, links forbidden: then a copy.
            Err(BuildError::Write { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn set_metadata(&self, file: &File, metadata: &Metadata<'_>) -> io::Result<()> {
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
    fn set_metadata_by_name(
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
            if !file_type(&stat).is_symlink() {
                let mode = Mode::from_raw_mode(metadata.mode.into());
                rustix::fs::chmodat(&parent, path.name(), mode, AtFlags::empty())?;
            }
            let times = disk::timestamps(metadata.mtime);
            Ok(utimensat(&parent, path.name(), &times, flags)?)
        };
        set().map_err(writing(path))
    }
}

/// What a builder holds at a path.
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

fn device_kind<'a>(kind: DeviceKind, device: Device) -> Kind<'a> {
    match kind {
        DeviceKind::Char => Kind::CharDevice(device),
        DeviceKind::Block => Kind::BlockDevice(device),
    }
}

fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn writing<E: Into<io::Error>>(path: &GuestPath) -> impl FnOnce(E) -> BuildError {
    let path = path.clone();
    move |error| BuildError::Write {
        path,
        source: error.into(),
    }
}

fn reading<E: Into<io::Error>>(path: &GuestPath) -> impl FnOnce(E) -> BuildError {
    let path = path.clone();
    move |error| BuildError::Content {
        path,
        source: error.into(),
    }
}

/// Puts the parts together, without what lay in directories that were replaced, and with the marks
/// of opaque directories.
fn merge(state: State) -> Tree {
    let State {
        mut parts,
        replaced,
        opaque,
        ..
    } = state;
    if parts.len() < 2 && opaque.is_empty() {
        return parts.pop().unwrap_or_default().finish();
    }
    let mut merged = TreeBuilder::new();
    for (number, part) in parts.into_iter().enumerate() {
        for entry in part.finish().iter() {
            let path = entry.guest_path();
            let gone = path
                .ancestors()
                .iter()
                .any(|ancestor| replaced.get(ancestor).is_some_and(|next| number < *next));
            if !gone {
                let kind = match entry.kind {
                    Kind::Directory { opaque: false } => Kind::Directory {
                        opaque: opaque.contains(&path),
                    },
                    other => other,
                };
                merged.push(&Entry { kind, ..entry });
            }
        }
    }
    merged.finish()
}

/// Checks that whatever is in a directory stands below an entry of that directory.
fn check_parents(tree: &Tree) -> Result<(), BuildError> {
    let mut directories: HashSet<&[u8]> = HashSet::from([&b""[..]]);
    for position in 0..tree.len() {
        let entry = tree.at(position);
        let parent = match entry.path.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => &entry.path[..slash],
            None => b"",
        };
        if !directories.contains(parent) {
            return Err(BuildError::NoParent(entry.guest_path()));
        }
        if entry.is_directory() {
            directories.insert(entry.path);
        }
    }
    Ok(())
}

/// Gives directories their metadata, those inside before those around them.
fn finish_directories(tree: &Tree, root: &Root, owner: (u32, u32)) -> Result<(), BuildError> {
    for position in (0..tree.len()).rev() {
        let entry = tree.at(position);
        let Kind::Directory { opaque } = entry.kind else {
            continue;
        };
        let path = entry.guest_path();
        let set = || -> io::Result<()> {
            let directory = root.open_inside(&path, OFlags::RDONLY | OFlags::DIRECTORY)?;
            if (entry.uid, entry.gid) != owner {
                disk::set_owner(&directory, entry.uid, entry.gid)?;
            }
            fchmod(&directory, Mode::from_raw_mode(entry.mode.into()))?;
            disk::set_xattrs(directory.as_fd(), entry.xattrs)?;
            if opaque {
                disk::make_opaque(&directory)?;
            }
            disk::set_mtime(&directory, entry.mtime)
        };
        set().map_err(writing(&path))?;
    }
    Ok(())
}
