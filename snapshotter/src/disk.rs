//! How layers look on disk: the marks that overlayfs understands.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, XattrFlags, fsetxattr, makedev, mknodat};

/// Marks a directory as opaque.
pub(crate) const OPAQUE: &str = "user.overlay.opaque";

/// Makes a whiteout called `name` in an open directory.
///
/// A character device 0:0 is no device: since Linux 5.8 anybody may make one.
pub(crate) fn make_whiteout(parent: BorrowedFd<'_>, name: &Path) -> io::Result<()> {
    Ok(mknodat(
        parent,
        name,
        FileType::CharacterDevice,
        Mode::empty(),
        makedev(0, 0),
    )?)
}

/// Marks an open directory as opaque.
pub(crate) fn make_opaque(directory: BorrowedFd<'_>) -> io::Result<()> {
    Ok(fsetxattr(directory, OPAQUE, b"y", XattrFlags::empty())?)
}
