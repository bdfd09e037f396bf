//! The members of an archive or directory, by name.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use kiln_cache::Store;
use kiln_files::{GuestPath, Links, open_scoped};
use kiln_snapshotter::{ArchiveCompression, TarPlace, UnpackLimit, index_tar};
use kiln_threads::{Stop, Stopping};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

use super::error::LoadError;
use super::loaded::LoadSource;
use super::sniff::sniff;

/// Bytes. Manifests are limited to 4 MiB by registries; configs are of the same order.
const LONGEST_DOCUMENT: u64 = 32 << 20;

/// Links followed before giving up. Linux's own limit (path_resolution(7)).
const MAXIMUM_LINKS: usize = 40;

/// The members of an archive or directory.
pub(crate) struct ArchiveContents {
    members: Members,
    /// Looked at between two pieces of a member.
    stop: Stop,
    /// What each part of it may unpack to.
    pub(crate) limit: UnpackLimit,
}

enum Members {
    /// A directory, never left.
    Directory(OwnedFd),
    /// A tar and the place of each member.
    Tar {
        file: Arc<File>,
        members: HashMap<GuestPath, MemberPlace>,
        /// Deleted when this is dropped.
        _spooled: Option<Spooled>,
    },
}

/// The place of a member of a tar.
pub(crate) enum MemberPlace {
    /// Its bytes.
    Bytes { start: u64, size_bytes: u64 },
    /// It is another name of this member.
    Link(GuestPath),
}

/// A file in the store's `work/`.
pub(crate) struct Spooled(PathBuf);

impl Drop for Spooled {
    fn drop(&mut self) {
        // What cannot be deleted now goes with the rest of `work/`.
        let _ = fs::remove_file(&self.0);
    }
}

/// A member, read from its start to its end.
#[derive(Clone, Debug)]
pub(crate) struct MemberReader {
    file: Arc<File>,
    stop: Stop,
    position: u64,
    left: u64,
}

impl MemberReader {
    pub(crate) fn whole(file: File, stop: &Stop) -> io::Result<Self> {
        let left = file.metadata()?.len();
        Ok(Self {
            file: Arc::new(file),
            stop: stop.clone(),
            position: 0,
            left,
        })
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.left
    }
}

impl Read for MemberReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stop.check()?;
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX);
        let wanted = wanted.min(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        let count = self.file.read_at(&mut buffer[..wanted], self.position)?;
        if count == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.position += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

impl ArchiveContents {
    pub(crate) fn open(
        source: LoadSource<'_>,
        store: &Store,
        limit: UnpackLimit,
    ) -> Result<Self, LoadError> {
        let members = match source {
            LoadSource::Directory(path) => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                rustix::fs::open(&path, flags, Mode::empty())
                    .map(Members::Directory)
                    .map_err(|error| failed(&path.display())(error.into()))?
            }
            LoadSource::File(mut file) => match file.rewind() {
                Ok(()) => match sniff(&mut file).map_err(LoadError::NotAnArchive)? {
                    (ArchiveCompression::None, _) => Members::index(file, None)?,
                    (packed, reader) => Members::spool(packed.unpack(reader, limit), store)?,
                },
                // A pipe that has a name (`load -i /dev/stdin`).
                Err(error) if Errno::from_io_error(&error) == Some(Errno::SPIPE) => {
                    Members::spool_stream(file, store, limit)?
                }
                Err(error) => return Err(LoadError::NotAnArchive(error)),
            },
            LoadSource::Stream(stream) => Members::spool_stream(stream, store, limit)?,
        };
        Ok(Self {
            members,
            stop: store.stop().clone(),
            limit,
        })
    }

    /// Returns a member, or none if there is none of this name.
    pub(crate) fn find(&self, path: &str) -> Result<Option<MemberReader>, LoadError> {
        match &self.members {
            Members::Directory(directory) => {
                let file = match open_inside(directory, &GuestPath::new(path)) {
                    Ok(file) => file,
                    Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
                    Err(error) => return Err(failed(&path)(error.into())),
                };
                let metadata = file.metadata().map_err(failed(&path))?;
                Ok(metadata.is_file().then(|| MemberReader {
                    file: Arc::new(file),
                    stop: self.stop.clone(),
                    position: 0,
                    left: metadata.len(),
                }))
            }
            Members::Tar { file, members, .. } => {
                let mut name = GuestPath::new(path);
                for _ in 0..MAXIMUM_LINKS {
                    match members.get(&name) {
                        None if name == GuestPath::new(path) => return Ok(None),
                        None => break,
                        Some(MemberPlace::Link(target)) => name = target.clone(),
                        Some(MemberPlace::Bytes { start, size_bytes }) => {
                            return Ok(Some(MemberReader {
                                file: Arc::clone(file),
                                stop: self.stop.clone(),
                                position: *start,
                                left: *size_bytes,
                            }));
                        }
                    }
                }
                Err(LoadError::DeadLink(path.to_owned()))
            }
        }
    }

    /// Returns a member that has to be there.
    pub(crate) fn require(&self, path: &str) -> Result<MemberReader, LoadError> {
        self.find(path)?
            .ok_or_else(|| LoadError::MissingMember(path.to_owned()))
    }

    /// Reads a small member whole, or returns none if there is none of this name.
    pub(crate) fn document(&self, path: &str) -> Result<Option<Vec<u8>>, LoadError> {
        let Some(mut part) = self.find(path)? else {
            return Ok(None);
        };
        let size_bytes = part.size_bytes();
        if size_bytes > LONGEST_DOCUMENT {
            return Err(LoadError::TooLong {
                path: path.to_owned(),
                size_bytes,
            });
        }
        let mut bytes = Vec::new();
        part.read_to_end(&mut bytes).map_err(failed(&path))?;
        Ok(Some(bytes))
    }
}

impl Members {
    /// Writes what a stream unpacks to to a file, to be read by position.
    fn spool_stream(
        stream: impl Read + Send,
        store: &Store,
        limit: UnpackLimit,
    ) -> Result<Self, LoadError> {
        let (packed, reader) = sniff(stream).map_err(LoadError::NotAnArchive)?;
        Self::spool(packed.unpack(reader, limit), store)
    }

    /// Writes a stream to a file, to be read by position.
    fn spool(reader: io::Result<impl Read>, store: &Store) -> Result<Self, LoadError> {
        let path = store.work_file().map_err(failed(&"work"))?;
        let mut file = File::options()
            .create_new(true)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(failed(&path.display()))?;
        let spooled = Spooled(path);
        reader
            .and_then(|reader| io::copy(&mut Stopping::new(store.stop(), reader), &mut file))
            .map_err(LoadError::NotAnArchive)?;
        Self::index(file, Some(spooled))
    }

    /// Notes where each member of a tar is.
    fn index(file: File, spooled: Option<Spooled>) -> Result<Self, LoadError> {
        let mut members = HashMap::new();
        for member in index_tar(&file)? {
            let path = GuestPath::new(&member.path);
            let place = match member.place {
                TarPlace::Bytes { start, size_bytes } => MemberPlace::Bytes { start, size_bytes },
                TarPlace::Symlink(link) => {
                    let parent = path.parent().unwrap_or_default();
                    MemberPlace::Link(parent.join(&link))
                }
                TarPlace::HardLink(link) => MemberPlace::Link(GuestPath::new(&link)),
            };
            members.insert(path, place);
        }
        Ok(Self::Tar {
            file: Arc::new(file),
            members,
            _spooled: spooled,
        })
    }
}

/// Opens a file of a directory. Symbolic links are followed as long as they stay inside.
fn open_inside(directory: &OwnedFd, path: &GuestPath) -> Result<File, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    match open_scoped(directory, path.as_relative(), flags, Links::Beneath) {
        // Sandboxes of before 2020 do not know openat2: then no link is followed at all.
        Err(Errno::NOSYS | Errno::PERM) => {
            let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut around = openat(directory, c".", step, Mode::empty())?;
            for ancestor in path.ancestors() {
                around = openat(&around, ancestor.name(), step, Mode::empty())?;
            }
            let flags = flags | OFlags::NOFOLLOW;
            openat(&around, path.name(), flags, Mode::empty()).map(File::from)
        }
        other => other.map(File::from),
    }
}

/// Returns a function that says which file an error of the operating system is about.
pub(crate) fn failed(path: &dyn std::fmt::Display) -> impl FnOnce(io::Error) -> LoadError {
    let path = path.to_string();
    move |source| LoadError::Io { path, source }
}
