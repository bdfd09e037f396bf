//! Single files of a file system that is not attached anywhere, each as a mount of its own.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, UnmountFlags};

use super::context::ExecutorContext;
use super::detached::attach;

/// Clones a mount of each of some files of a detached file system.
///
/// Kernels before 6.15 clone only what is attached. There it is attached to the tree of this process
/// for as long as that takes, which is long: taking it off again waits for all processors.
pub(super) fn clone_files(
    context: &ExecutorContext,
    file_system: &OwnedFd,
    names: &[String],
) -> Result<Vec<OwnedFd>, Errno> {
    match clone_each(file_system, names) {
        Err(Errno::INVAL) => {
            let _attached = Attached::at(file_system, context.own_path("files"))?;
            clone_each(file_system, names)
        }
        other => other,
    }
}

/// Clones a mount of each of some files, where the kernel does that for what is detached.
pub(super) fn clone_each(file_system: &OwnedFd, names: &[String]) -> Result<Vec<OwnedFd>, Errno> {
    let clone = |name: &String| {
        rustix::mount::open_tree(
            file_system,
            name.as_str(),
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
        )
    };
    names.iter().map(clone).collect()
}

/// A directory of kiln's with something mounted on it for a moment.
struct Attached(PathBuf);

impl Attached {
    fn at(mount: &OwnedFd, directory: PathBuf) -> Result<Self, Errno> {
        rustix::fs::mkdir(&directory, Mode::RWXU)?;
        let attached = Self(directory);
        attach(mount, &attached.0)?;
        Ok(attached)
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // Left behind, it vanishes with this process.
        let _ = rustix::mount::unmount(&self.0, UnmountFlags::DETACH);
        let _ = fs::remove_dir(&self.0);
    }
}
