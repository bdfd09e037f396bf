//! Putting the members of an archive into a layer.
//!
//! An archive may name anything. A name is cleaned as if the archive's destination were the root, so
//! `..` and a leading slash do not leave it; a symbolic link on the way, whether the archive brought
//! it or the root has it, is followed as if that were all there is, as containerd and Docker do; and
//! the builder's own directory is only ever touched without following links.

use std::collections::HashSet;
use std::io::Read;

use kiln_files::GuestPath;
use kiln_oci::Timestamp;
use kiln_tree::{Entry, NodeKind, XattrsBuf};

use crate::build_error::BuildError;
use crate::builder::state::DeviceNodeKind;
use crate::builder::{Added, LayerBuilder};
use crate::metadata::Metadata;
use crate::tar::member::{Member, MemberKind};
use crate::tar::read::{TarError, TarReader};
use crate::unpack_limit::{Meter, UnpackLimit};
use crate::users::Owner;
use crate::view::ParentView;
use crate::xattr;

/// Bytes. Paths and link targets that a Linux system call takes end here. (PATH_MAX)
const LONGEST_PATH: usize = 4095;

/// Links followed before giving up, as in path_resolution(7).
const MAXIMUM_LINKS: usize = 40;

/// Why an archive cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// It is not a tar that kiln reads.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// A member cannot be stored.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A member's name or link is not one that files can have.
    #[error("invalid name in archive: {0:?}")]
    Name(String),
    /// A member's extended attribute is not one that files can have.
    #[error("invalid extended attribute of {0} in archive")]
    Xattr(GuestPath),
    /// Too many symbolic links on the way to a member.
    #[error("too many levels of symbolic links at {0} in archive")]
    Loop(GuestPath),
}

/// The meaning of the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// A layer. Names beginning with `.wh.` say what is hidden; a directory that is not a member
    /// remains what it is below.
    Layer,
    /// A directory that was packed as a whole.
    Directory,
    /// Files that are added to a directory, which has its own metadata.
    Files,
}

/// An unpacking in progress: the layer that members go to, and the rules.
pub(crate) struct Unpacker<'a> {
    builder: &'a LayerBuilder,
    meaning: Meaning,
    /// What lies below the layer.
    parent: Option<&'a ParentView>,
    destination: GuestPath,
    /// Given to every member instead of its own.
    owner: Option<Owner>,
    /// The containing directory that was needed last, as written and as resolved.
    recent: Option<(GuestPath, GuestPath)>,
    hidden: Vec<GuestPath>,
    opaque: HashSet<GuestPath>,
    /// Whether the archive describes the root itself.
    has_root: bool,
    /// Links whose targets have not come yet.
    waiting: Vec<(GuestPath, GuestPath)>,
    /// Counts directories that are made because something is in them, which no member pays for.
    meter: Meter,
}

/// What a directory takes on most file systems. Bytes.
const DIRECTORY_BYTES: u64 = 4096;

/// Seconds. 1980, the first year that zip can write: what else would be older than the programs that
/// read it is made then.
const EARLIEST: Timestamp = Timestamp::from_seconds(315_532_800);

impl<'a> Unpacker<'a> {
    /// Unpacks a layer, which does not depend on what it will lie on.
    pub(crate) fn of_layer(builder: &'a LayerBuilder) -> Self {
        Self::new(builder, Meaning::Layer)
    }

    /// Unpacks a directory that was packed as a whole.
    pub(crate) fn of_directory(builder: &'a LayerBuilder) -> Self {
        Self::new(builder, Meaning::Directory)
    }

    /// Unpacks files into a directory that was added already.
    pub(crate) fn of_archive(
        builder: &'a LayerBuilder,
        parent: &'a ParentView,
        destination: &GuestPath,
        owner: Option<Owner>,
    ) -> Self {
        Self {
            parent: Some(parent),
            destination: destination.clone(),
            owner,
            ..Self::new(builder, Meaning::Files)
        }
    }

    fn new(builder: &'a LayerBuilder, meaning: Meaning) -> Self {
        Self {
            builder,
            meaning,
            parent: None,
            destination: GuestPath::ROOT,
            owner: None,
            recent: None,
            hidden: Vec::new(),
            opaque: HashSet::new(),
            has_root: false,
            waiting: Vec::new(),
            meter: Meter::new(UnpackLimit::NONE),
        }
    }

    /// Returns what lies below the layer at a path.
    fn below(&self, path: &GuestPath) -> Option<Entry<'a>> {
        self.parent.and_then(|parent| parent.get(path))
    }

    /// Unpacks every member.
    pub(crate) fn unpack<R: Read>(mut self, archive: &mut TarReader<R>) -> Result<(), UnpackError> {
        self.meter = archive.meter().clone();
        while let Some(member) = archive.next()? {
            self.member(member, archive)?;
        }
        for (path, target) in std::mem::take(&mut self.waiting) {
            self.builder.add_hard_link(&path, &target)?;
        }
        self.hide()
    }

    /// Makes the marks of what is hidden. Whatever the order in the archive, they concern the layers
    /// below alone: what the layer itself has stays, and directories that marks are in are there.
    fn hide(mut self) -> Result<(), UnpackError> {
        for path in std::mem::take(&mut self.opaque) {
            if path.is_root() && !self.has_root {
                self.imply(&path, EARLIEST)?;
            }
            let inside = self.place(&path.join(b"x"), EARLIEST)?;
            self.builder
                .mark_opaque(&inside.parent().unwrap_or_default());
        }
        let mut hidden = Vec::with_capacity(self.hidden.len());
        for path in std::mem::take(&mut self.hidden) {
            hidden.push(self.place(&path, EARLIEST)?);
        }
        for path in hidden {
            match self.builder.look(&path) {
                Added::Nothing => self.builder.add_whiteout(&path)?,
                Added::Directory => self.builder.mark_opaque(&path),
                Added::Symlink(_) | Added::Other => {}
            }
        }
        Ok(())
    }

    fn member(&mut self, member: Member, content: &mut dyn Read) -> Result<(), UnpackError> {
        if member.kind == MemberKind::Comment {
            return Ok(());
        }
        let written = self.clean(&member.path)?;
        if self.meaning == Meaning::Layer && self.mark(&written)? {
            return Ok(());
        }
        if written == self.destination && !self.is_about_destination(&member) {
            return Ok(());
        }
        let path = self.place(&written, member.mtime)?;
        let xattrs = recorded(&path, member.xattrs)?;
        let metadata = Metadata {
            mode: member.mode,
            uid: self.owner.map_or(member.uid, |owner| owner.uid),
            gid: self.owner.map_or(member.gid, |owner| owner.gid),
            mtime: member.mtime,
            xattrs: xattrs.as_xattrs(),
        };
        match member.kind {
            MemberKind::Directory => {
                self.has_root |= path.is_root();
                // What a member replaced that this one replaces is gone all the same.
                let was_replaced =
                    matches!(self.builder.look(&path), Added::Symlink(_) | Added::Other)
                        && self.below(&path).is_some_and(|below| below.is_directory());
                if was_replaced {
                    self.builder.add_opaque_directory(&path, &metadata)?;
                } else {
                    self.builder.add_directory(&path, &metadata)?;
                }
            }
            MemberKind::File => {
                self.builder.add_stream(&path, &metadata, content)?;
            }
            MemberKind::Symlink(target) => {
                if target.is_empty() || target.len() > LONGEST_PATH {
                    return Err(invalid_name(&target));
                }
                self.builder.add_symlink(&path, &metadata, &target)?;
            }
            MemberKind::HardLink(target) => {
                let target = self.clean(&target)?;
                let target = self.place(&target, member.mtime)?;
                match self.builder.look(&target) {
                    Added::Nothing => {
                        self.builder.count_kept([&path, &target])?;
                        self.waiting.push((path, target));
                    }
                    _ => self.builder.add_hard_link(&path, &target)?,
                }
            }
            // What some programs make of overlayfs's whiteouts.
            MemberKind::CharDevice(device)
                if (device.major, device.minor) == (0, 0) && self.meaning == Meaning::Layer =>
            {
                self.builder.count_kept([&path])?;
                self.hidden.push(path);
            }
            MemberKind::CharDevice(device) => {
                self.builder
                    .add_device(&path, &metadata, DeviceNodeKind::Char, device)?;
            }
            MemberKind::BlockDevice(device) => {
                self.builder
                    .add_device(&path, &metadata, DeviceNodeKind::Block, device)?;
            }
            MemberKind::Fifo => self.builder.add_fifo(&path, &metadata)?,
            MemberKind::Comment => {}
        }
        Ok(())
    }

    /// Takes names that are marks instead of files, and says whether this was one.
    // OCI image-spec v1.1, layer.md, "Whiteouts"; docs/spec/oci.md 5.1 and 5.3.
    fn mark(&mut self, path: &GuestPath) -> Result<bool, UnpackError> {
        let around = path.parent().unwrap_or_default();
        // What aufs kept for itself lies in directories at the top.
        if path
            .components()
            .next()
            .is_some_and(|first| first.starts_with(b".wh..wh."))
            && !around.is_root()
        {
            return Ok(true);
        }
        let Some(name) = path.name().strip_prefix(b".wh.") else {
            // An eStargz layer describes itself in files that are not the image's.
            let belongs_to_stargz = matches!(
                path.as_bytes(),
                b"stargz.index.json" | b".prefetch.landmark" | b".no.prefetch.landmark"
            );
            return Ok(belongs_to_stargz);
        };
        match name {
            b"" | b"." | b".." => return Err(invalid_name(path.as_bytes())),
            b".wh..opq" => {
                if !self.opaque.contains(&around) {
                    self.builder.count_kept([&around])?;
                    self.opaque.insert(around);
                }
            }
            // Those directories themselves.
            _ if name.starts_with(b".wh.") => {}
            _ => {
                let path = around.join(name);
                self.builder.count_kept([&path])?;
                self.hidden.push(path);
            }
        }
        Ok(true)
    }

    /// Says whether a member that is called like the destination changes it.
    ///
    /// One without a name, or `.`, is about the directory that was packed, and where files are added
    /// to another one that does not matter. (moby: archive.Unpack) Whatever else than a directory
    /// is called so is nothing at all. (containerd: applyNaive)
    fn is_about_destination(&self, member: &Member) -> bool {
        let is_absolute = member.path.first() == Some(&b'/');
        member.kind == MemberKind::Directory && (self.meaning != Meaning::Files || is_absolute)
    }

    fn clean(&self, name: &[u8]) -> Result<GuestPath, UnpackError> {
        let inside = GuestPath::new(name);
        let path = if self.destination.is_root() {
            inside
        } else {
            self.destination.join(inside.as_bytes())
        };
        if path.as_bytes().len() > LONGEST_PATH {
            Err(invalid_name(name))
        } else {
            Ok(path)
        }
    }

    /// Returns where `path` really is once links above it are followed, and makes sure that its
    /// directory is in the layer; what has to be made for that is as old as `mtime`.
    fn place(&mut self, path: &GuestPath, mtime: Timestamp) -> Result<GuestPath, UnpackError> {
        if *path == self.destination {
            return Ok(path.clone());
        }
        let around = path.parent().unwrap_or_default();
        if let Some((written, resolved)) = &self.recent
            && *written == around
            && self.builder.look(resolved) == Added::Directory
        {
            return Ok(resolved.join(path.name()));
        }
        let mut current = self.destination.clone();
        let mut links = 0;
        let inside = around.strip_prefix(&self.destination).unwrap_or_default();
        let mut rest: Vec<Vec<u8>> = inside.components().rev().map(<[u8]>::to_vec).collect();
        while let Some(component) = rest.pop() {
            match component.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    if current != self.destination {
                        current = current.parent().unwrap_or_default();
                    }
                    continue;
                }
                _ => {}
            }
            let next = current.join(&component);
            match self.follow(&next, mtime)? {
                Next::Inside => current = next,
                Next::Nowhere => return Err(BuildError::ParentNotDirectory(path.clone()).into()),
                Next::To(target) => {
                    links += 1;
                    if links > MAXIMUM_LINKS {
                        return Err(UnpackError::Loop(path.clone()));
                    }
                    if target.first() == Some(&b'/') {
                        current = self.destination.clone();
                    }
                    let components = target.split(|&byte| byte == b'/');
                    rest.extend(components.rev().map(<[u8]>::to_vec));
                }
            }
            if current.as_bytes().len() > LONGEST_PATH {
                return Err(invalid_name(path.as_bytes()));
            }
        }
        let placed = current.join(path.name());
        self.recent = Some((around, current));
        Ok(placed)
    }

    /// Says where a path leads that has to be a directory, and makes it one if nothing is there.
    fn follow(&self, path: &GuestPath, mtime: Timestamp) -> Result<Next, UnpackError> {
        match self.builder.look(path) {
            Added::Directory => return Ok(Next::Inside),
            Added::Symlink(target) => return Ok(Next::To(target)),
            Added::Other => return Ok(Next::Nowhere),
            Added::Nothing => {}
        }
        let Some(below) = self.below(path) else {
            self.imply(path, mtime)?;
            return Ok(Next::Inside);
        };
        Ok(match below.kind {
            NodeKind::Directory { .. } => {
                let metadata = Metadata::of(&below);
                self.builder.add_directory(path, &metadata)?;
                Next::Inside
            }
            NodeKind::Symlink { target } => Next::To(target.to_vec()),
            _ => Next::Nowhere,
        })
    }

    /// Adds a directory because something is in it.
    fn imply(&self, path: &GuestPath, mtime: Timestamp) -> Result<(), UnpackError> {
        self.meter.add(DIRECTORY_BYTES).map_err(TarError::Read)?;
        if self.meaning == Meaning::Layer {
            // Nothing depends on the order of members.
            let metadata = Metadata::root_owned(0o755, EARLIEST);
            return Ok(self.builder.add_implied_directory(path, &metadata)?);
        }
        let owner = self.owner.unwrap_or_default();
        let metadata = Metadata {
            uid: owner.uid,
            gid: owner.gid,
            ..Metadata::root_owned(0o755, mtime.max(EARLIEST))
        };
        Ok(self.builder.add_directory(path, &metadata)?)
    }
}

/// The file at a path that has to be a directory.
enum Next {
    /// It is one.
    Inside,
    /// It is a link to this.
    To(Vec<u8>),
    /// It is something else.
    Nowhere,
}

fn recorded(path: &GuestPath, pairs: Vec<(Vec<u8>, Vec<u8>)>) -> Result<XattrsBuf, UnpackError> {
    /// Bytes. XATTR_NAME_MAX and XATTR_SIZE_MAX (linux/limits.h).
    const LONGEST: (usize, usize) = (255, 65_536);
    let mut kept = Vec::new();
    for (name, value) in pairs {
        if !xattr::is_recorded(&name) {
            continue;
        }
        let value = xattr::normalized(&name, value);
        if name.len() > LONGEST.0 || value.len() > LONGEST.1 || name.contains(&0) {
            return Err(UnpackError::Xattr(path.clone()));
        }
        kept.push((name, value));
    }
    Ok(XattrsBuf::new(kept))
}

fn invalid_name(name: &[u8]) -> UnpackError {
    let text = String::from_utf8_lossy(name);
    UnpackError::Name(text.chars().take(200).collect())
}
