//! Temporary directories for tests of file systems.
//!
//! What such tests leave can be stubborn: mounts, directories that no user may search, files of
//! ids that only a user namespace may touch. Dropping a [`Scratch`] deals with each, in the
//! order of how often it is needed.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::leftovers::mount_points_below;

/// `TMPFS_MAGIC`: statfs(2).
const TMPFS: i64 = 0x0102_1994;

/// Bytes that tests in memory may need.
const ROOM: u64 = 4 << 30;

/// A directory that vanishes when its owner does, whatever lies in it.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes an empty directory that only the current user may enter.
    ///
    /// # Panics
    ///
    /// If the temporary directory of the machine cannot be written.
    pub fn new() -> Self {
        Self::below(&std::env::temp_dir()).expect("the temporary directory should be writable")
    }

    /// Makes an empty directory that only the current user may enter, in memory where this machine has
    /// files there and room for some gibibytes: what others write to the disk is not waited for.
    ///
    /// # Panics
    ///
    /// As [`Scratch::new`].
    pub fn in_memory() -> Self {
        let memory = Path::new("/dev/shm");
        let has_room = rustix::fs::statvfs(memory).is_ok_and(|left| {
            let is_memory = rustix::fs::statfs(memory).is_ok_and(|kind| kind.f_type == TMPFS);
            is_memory && left.f_bavail * left.f_frsize >= ROOM
        });
        if has_room {
            Self::below(memory).unwrap_or_default()
        } else {
            Self::new()
        }
    }

    /// Makes an empty directory that only the current user may enter, in a directory of the caller's
    /// choice.
    ///
    /// # Errors
    ///
    /// Those of making a directory.
    ///
    /// # Panics
    ///
    /// If another process removes it meanwhile.
    pub fn below(directory: &Path) -> io::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("kiln-test-")
            .tempdir_in(directory)?;
        // Mounts and processes are found by their real names.
        let path = fs::canonicalize(directory.keep()).expect("the directory was just made");
        Ok(Self { path })
    }

    /// Makes an empty directory that everybody may enter and read.
    ///
    /// # Panics
    ///
    /// As [`Scratch::new`].
    pub fn for_everyone() -> Self {
        let scratch = Self::new();
        fs::set_permissions(&scratch.path, fs::Permissions::from_mode(0o755))
            .expect("the directory is ours");
        scratch
    }

    /// Returns the absolute path, free of symbolic links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the absolute path of something inside.
    pub fn join(&self, inside: impl AsRef<Path>) -> PathBuf {
        self.path.join(inside)
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The deepest mounts come last in the table and must go first.
        for mount_point in mount_points_below(&self.path).iter().rev() {
            quietly(Command::new("umount").arg("--lazy").arg(mount_point));
        }
        if fs::remove_dir_all(&self.path).is_ok() {
            return;
        }
        quietly(
            Command::new("chmod")
                .args(["--recursive", "u+rwX"])
                .arg(&self.path),
        );
        if fs::remove_dir_all(&self.path).is_ok() {
            return;
        }
        // What belongs to an id of our subordinate range, only our user namespace may delete.
        quietly(
            Command::new("unshare")
                .args(["--user", "--map-root-user", "--map-auto", "rm", "-rf", "--"])
                .arg(&self.path),
        );
    }
}

/// Runs a command for its effect; in a destructor its failure has no better place to go.
fn quietly(command: &mut Command) {
    let _ = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}
