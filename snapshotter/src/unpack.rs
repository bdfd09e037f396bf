//! Putting the members of an archive into a layer.
//!
//! An archive may name anything. A name is cleaned as if its archive lay at the root, so `..` and a
//! leading slash do not leave it; a symbolic link on the way, whether the archive brought it or the
//! root has it, is followed inside the root, as containerd and Docker do; and the builder's own
//! directory is only ever touched without following links.

use std::collections::HashSet;
use std::io::Read;

use kiln_cache::{GuestPath, Kind, Timestamp, XattrsBuf};

use crate::build_error::BuildError;
use crate::builder::{Added, DeviceKind, LayerBuilder};
use crate::metadata::Metadata;
use crate::tar_read::{Member, MemberKind, TarError, TarReader};
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

/// What names beginning with `.wh.` mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whiteouts {
    /// In a layer: what is hidden.
    Honoured,
    /// In any other archive: nothing.
    Literal,
}

/// Where members go and how.
pub(crate) struct Unpacker<'a> {
    builder: &'a LayerBuilder,
    /// What lies below the layer.
    parent: &'a ParentView,
    destination: &'a GuestPath,
    /// Given to every member instead of its own.
    owner: Option<Owner>,
    whiteouts: Whiteouts,
    /// The containing directory that was needed last, as written and as resolved.
    recent: Option<(GuestPath, GuestPath)>,
    hidden: Vec<GuestPath>,
    opaque: HashSet<GuestPath>,
    /// Whether the archive describes the root itself.
    has_root: bool,
    /// Links whose targets have not come yet.
    waiting: Vec<(GuestPath, GuestPath)>,
}

impl<'a> Unpacker<'a> {
    pub(crate) fn new(
        builder: &'a LayerBuilder,
        parent: &'a ParentView,
        destination: &'a GuestPath,
        owner: Option<Owner>,
        whiteouts: Whiteouts,
    ) -> Self {
        Self {
            builder,
            parent,
            destination,
            owner,
            whiteouts,
            recent: None,
            hidden: Vec::new(),
            opaque: HashSet::new(),
            has_root: false,
            waiting: Vec::new(),
        }
    }

    /// Unpacks every member.
    pub(crate) fn unpack<R: Read>(mut self, archive: &mut TarReader<R>) -> Result<(), UnpackError> {
        while let Some(member) = archive.next()? {
            self.member(member, archive)?;
        }
        for (path, target) in std::mem::take(&mut self.waiting) {
            self.builder.add_hard_link(&path, &target)?;
        }
        // Whatever the order in the archive, a whiteout concerns the layers below alone.
        for path in std::mem::take(&mut self.hidden) {
            let path = self.place(&path)?;
            match self.builder.look(&path) {
                Added::Nothing => self.builder.add_whiteout(&path)?,
                Added::Directory => self.builder.mark_opaque(&path),
                Added::Symlink(_) | Added::Other => {}
            }
        }
        for path in std::mem::take(&mut self.opaque) {
            if path.is_root() && !self.has_root {
                let metadata = Metadata::root_owned(0o755, Timestamp::EPOCH);
                self.builder.add_directory(&path, &metadata)?;
            }
            let inside = self.place(&path.join(b"x"))?;
            self.builder
                .mark_opaque(&inside.parent().unwrap_or_default());
        }
        Ok(())
    }

    fn member(&mut self, member: Member, content: &mut dyn Read) -> Result<(), UnpackError> {
        if member.kind == MemberKind::Comment {
            return Ok(());
        }
        let written = self.clean(&member.path)?;
        if self.whiteouts == Whiteouts::Honoured && self.mark(&written)? {
            return Ok(());
        }
        let path = self.place(&written)?;
        let xattrs = recorded(&path, member.xattrs)?;
        let metadata = Metadata {
            mode: member.mode,
            uid: self.owner.map_or(member.uid, |owner| owner.uid),
            gid: self.owner.map_or(member.gid, |owner| owner.gid),
            mtime: member.mtime,
            xattrs: xattrs.as_xattrs(),
        };
        if path.is_root() && member.kind != MemberKind::Directory {
            return Err(invalid_name(&member.path));
        }
        match member.kind {
            MemberKind::Directory => {
                self.has_root |= path.is_root();
                self.builder.add_directory(&path, &metadata)?;
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
                let target = self.place(&target)?;
                match self.builder.look(&target) {
                    Added::Nothing => self.waiting.push((path, target)),
                    _ => self.builder.add_hard_link(&path, &target)?,
                }
            }
            // What some programs make of overlayfs's whiteouts.
            MemberKind::CharDevice(device)
                if (device.major, device.minor) == (0, 0)
                    && self.whiteouts == Whiteouts::Honoured =>
            {
                self.hidden.push(path);
            }
            MemberKind::CharDevice(device) => {
                self.builder
                    .add_device(&path, &metadata, DeviceKind::Char, device)?;
            }
            MemberKind::BlockDevice(device) => {
                self.builder
                    .add_device(&path, &metadata, DeviceKind::Block, device)?;
            }
            MemberKind::Fifo => self.builder.add_fifo(&path, &metadata)?,
            MemberKind::Comment => {}
        }
        Ok(())
    }

    /// Takes names that are marks instead of files, and says whether this was one.
    // OCI image-spec v1.1, layer.md, "Whiteouts"; spec/oci.md sections 5.1 and 5.3.
    fn mark(&mut self, path: &GuestPath) -> Result<bool, UnpackError> {
        let around = path.parent().unwrap_or_default();
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
                self.opaque.insert(around);
            }
            // What aufs kept for itself.
            _ if name.starts_with(b".wh.") => {}
            _ => self.hidden.push(around.join(name)),
        }
        Ok(true)
    }

    fn clean(&self, name: &[u8]) -> Result<GuestPath, UnpackError> {
        let inside = GuestPath::new(name);
        let path = match self.destination.is_root() {
            true => inside,
            false => self.destination.join(inside.as_bytes()),
        };
        match path.as_bytes().len() > LONGEST_PATH {
            true => Err(invalid_name(name)),
            false => Ok(path),
        }
    }

    /// Returns where `path` really is once links above it are followed, and makes sure that its
    /// directory is in the layer.
    fn place(&mut self, path: &GuestPath) -> Result<GuestPath, UnpackError> {
        let Some(around) = path.parent() else {
            return Ok(GuestPath::ROOT);
        };
        if let Some((written, resolved)) = &self.recent
            && *written == around
            && self.builder.look(resolved) == Added::Directory
        {
            return Ok(resolved.join(path.name()));
        }
        let mut current = GuestPath::ROOT;
        let mut links = 0;
        let mut rest: Vec<Vec<u8>> = around.components().rev().map(<[u8]>::to_vec).collect();
        while let Some(component) = rest.pop() {
            match component.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    current = current.parent().unwrap_or_default();
                    continue;
                }
                _ => {}
            }
            let next = current.join(&component);
            let link = match self.builder.look(&next) {
                Added::Directory => None,
                Added::Symlink(target) => Some(target),
                Added::Other => return Err(BuildError::ParentNotDirectory(path.clone()).into()),
                Added::Nothing => match self.parent.get(&next) {
                    Some(entry) => match entry.kind {
                        Kind::Directory { .. } => {
                            self.builder.add_directory(&next, &Metadata::of(&entry))?;
                            None
                        }
                        Kind::Symlink { target } => Some(target.to_vec()),
                        _ => return Err(BuildError::ParentNotDirectory(path.clone()).into()),
                    },
                    None => {
                        let owner = self.owner.unwrap_or_default();
                        let metadata = Metadata {
                            uid: owner.uid,
                            gid: owner.gid,
                            ..Metadata::root_owned(0o755, Timestamp::EPOCH)
                        };
                        self.builder.add_directory(&next, &metadata)?;
                        None
                    }
                },
            };
            match link {
                None => current = next,
                Some(target) => {
                    links += 1;
                    if links > MAXIMUM_LINKS {
                        return Err(UnpackError::Loop(path.clone()));
                    }
                    if target.first() == Some(&b'/') {
                        current = GuestPath::ROOT;
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
