//! Containers on disk.
//!
//! ```text
//! containers/
//!   lock             flock: names are given out one at a time
//!   new-<id>/        being made; left by a crash, removed on sight
//!   gone-<id>/       being removed; likewise
//!   <id>/
//!     name           what it is called
//!     spec.json      what it is
//!     state.json     what has become of it, replaced by rename
//!     state.*        space reserved for the state it ends with
//!     lock           flock, held by its monitor: held = running
//!     control        socket of its monitor
//!     log, log.<n>   its output
//!     upper/ work/   its changes, and the kernel's scratch
//!     hosts, hostname, resolv.conf, resolv.conf.host
//! ```
//!
//! A container is there once its directory has its final name, and has all its files then. A state
//! that says *running* is believed only while a process holds the lock, so neither a killed monitor
//! nor a recycled process id can make a dead container look alive.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use kiln_files::remove_tree;

use crate::files::{lock_file, settle, write_file, write_json};
use crate::index::ContainerIndex;
use crate::spec::Spec;
use crate::state::StoredState;
use crate::{Container, ContainerError, ContainerId, ContainerName, HeldContainer};

/// How often a made-up name may be taken already.
const ATTEMPTS: u32 = 6;

/// All containers.
#[derive(Clone, Debug)]
pub struct Containers {
    root: PathBuf,
}

impl Containers {
    /// Opens a directory of containers, which is made with the first of them.
    ///
    /// # Errors
    /// The path cannot be made absolute.
    pub fn open(root: &Path) -> Result<Self, ContainerError> {
        // An absolute path: monitors go elsewhere.
        match fs::canonicalize(root) {
            Err(error) if error.kind() == ErrorKind::NotFound => std::path::absolute(root),
            other => other,
        }
        .map(|root| Self { root })
        .map_err(ContainerError::at(root))
    }

    /// Returns where a container with this id has its files, or will have them.
    #[must_use]
    pub fn directory_of(&self, id: &ContainerId) -> PathBuf {
        self.root.join(id.as_str())
    }

    /// Begins to make a container with a new id.
    ///
    /// # Errors
    /// A file or directory cannot be read or written.
    pub fn draft(&self, id: ContainerId) -> Result<Draft, ContainerError> {
        fs::create_dir_all(&self.root).map_err(ContainerError::at(&self.root))?;
        let lock = self.lock()?;
        self.sweep_locked(&lock)?;
        let directory = self.root.join(format!("new-{id}"));
        // The kernel's scratch directory beside it is made anew at each start.
        let upper = directory.join("upper");
        fs::create_dir_all(&upper).map_err(ContainerError::at(&upper))?;
        // It is the container's `/`, whatever the caller's umask.
        fs::set_permissions(&upper, fs::Permissions::from_mode(0o755))
            .map_err(ContainerError::at(&upper))?;
        // The lock tells it from a leftover of a crash.
        let lock = lock_file(&directory.join("lock"))?;
        lock.lock().map_err(ContainerError::at(&directory))?;
        Ok(Draft {
            id,
            directory,
            is_finished: false,
            lock,
        })
    }

    /// Gives a draft its name, and so makes it a container. Without a name, one is made up. While
    /// the caller keeps what is returned, no other process prunes the container.
    ///
    /// # Errors
    /// The name is taken, or a file cannot be read or written.
    pub fn create(
        &self,
        mut draft: Draft,
        name: Option<ContainerName>,
        spec: &Spec,
    ) -> Result<HeldContainer, ContainerError> {
        let mut spec = spec.clone();
        for layer in &mut spec.own.layers {
            *layer = self.relative(layer);
        }
        write_json(&draft.directory.join("spec.json"), &spec)?;
        write_json(&draft.directory.join("state.json"), &StoredState::CREATED)?;
        let lock = self.lock()?;
        let others = self.list()?;
        let holder = |name: &ContainerName| {
            others
                .iter()
                .find(|other| other.name().is_ok_and(|taken| taken == *name))
        };
        let name = match name {
            Some(name) => match holder(&name) {
                Some(by) => {
                    return Err(ContainerError::NameTaken {
                        name,
                        by: by.id().clone(),
                    });
                }
                None => name,
            },
            None => (0..=ATTEMPTS)
                .map(ContainerName::made_up)
                .find(|name| holder(name).is_none())
                .unwrap_or_else(|| ContainerName::after(&draft.id)),
        };
        write_file(&draft.directory.join("name"), name.as_str().as_bytes())?;
        let directory = self.directory_of(&draft.id);
        fs::rename(&draft.directory, &directory).map_err(ContainerError::at(&directory))?;
        draft.is_finished = true;
        drop(lock);
        let lock = draft
            .lock
            .try_clone()
            .map_err(ContainerError::at(&directory))?;
        Ok(HeldContainer::new(
            Container::new(draft.id.clone(), directory),
            lock,
        ))
    }

    /// Returns a path in the state directory relative to that; any other as it is.
    fn relative(&self, path: &Path) -> PathBuf {
        let home = self.root.parent().unwrap_or(&self.root);
        let rest = |path: &Path| path.strip_prefix(home).map(Path::to_owned).ok();
        // A link may lead there.
        rest(path)
            .or_else(|| rest(&fs::canonicalize(path).ok()?))
            .unwrap_or_else(|| path.to_owned())
    }

    /// Renames a container.
    ///
    /// # Errors
    /// The name is taken, or a file cannot be read or written.
    pub fn rename(
        &self,
        container: &Container,
        name: &ContainerName,
    ) -> Result<(), ContainerError> {
        let _lock = self.lock()?;
        for other in self.list()? {
            if other.id() != container.id() && other.name()? == *name {
                return Err(ContainerError::NameTaken {
                    name: name.clone(),
                    by: other.id().clone(),
                });
            }
        }
        write_file(
            &container.directory().join("name"),
            name.as_str().as_bytes(),
        )?;
        settle(container.directory())
    }

    /// Returns all containers, by id.
    ///
    /// # Errors
    /// A file or directory cannot be read or written.
    pub fn list(&self) -> Result<Vec<Container>, ContainerError> {
        let at_root = || ContainerError::at(&self.root);
        let mut found = Vec::new();
        let entries = match fs::read_dir(&self.root) {
            // None was ever made.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(found),
            other => other.map_err(at_root())?,
        };
        for entry in entries {
            let entry = entry.map_err(at_root())?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Ok(id) = ContainerId::try_from(name) {
                found.push(Container::new(id, entry.path()));
            }
        }
        found.sort_by(|a, b| a.id().cmp(b.id()));
        Ok(found)
    }

    /// Returns the containers that there are now, to be found by what people call them.
    ///
    /// # Errors
    /// As [`Containers::list`].
    pub fn index(&self) -> Result<ContainerIndex, ContainerError> {
        Ok(ContainerIndex::of(self.list()?))
    }

    /// Finds a container by id, name or the beginning of its id, in this order.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn find(&self, reference: &str) -> Result<Container, ContainerError> {
        self.index()?.find(reference)
    }

    /// Removes what crashes left behind.
    ///
    /// # Errors
    /// A file or directory cannot be read or written.
    pub fn sweep(&self) -> Result<(), ContainerError> {
        if self.root.exists() {
            self.sweep_locked(&self.lock()?)
        } else {
            Ok(())
        }
    }

    fn sweep_locked(&self, _lock: &File) -> Result<(), ContainerError> {
        for entry in fs::read_dir(&self.root).map_err(ContainerError::at(&self.root))? {
            let path = entry.map_err(ContainerError::at(&self.root))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let is_unfinished = name.starts_with("new-") || name.starts_with("gone-");
            let is_held = || match File::open(path.join("lock")) {
                Ok(lock) => lock.try_lock().is_err(),
                // A draft gets its lock while that of all containers is held, so there is none only
                // where a container is being removed.
                Err(error) => error.kind() != ErrorKind::NotFound,
            };
            if is_unfinished && !is_held() {
                // The process that removes it may still be at work; the next sweep tries again.
                let _ = remove_tree(&path);
            }
        }
        Ok(())
    }

    fn lock(&self) -> Result<File, ContainerError> {
        lock_file(&self.root.join("lock")).and_then(|file| {
            file.lock().map_err(ContainerError::at(&self.root))?;
            Ok(file)
        })
    }
}

/// A container that is being made: an id and a directory. Removed unless it is finished by
/// [`Containers::create`].
#[derive(Debug)]
pub struct Draft {
    id: ContainerId,
    directory: PathBuf,
    is_finished: bool,
    lock: File,
}

impl Draft {
    /// Returns the id the container will have.
    #[must_use]
    pub fn id(&self) -> &ContainerId {
        &self.id
    }

    /// Writes a file that the container will show below `/etc`, where it may change it.
    ///
    /// # Errors
    /// A file or directory cannot be read or written.
    pub fn etc_file(&self, name: &str, text: &str) -> Result<(), ContainerError> {
        let path = self.directory.join(name);
        write_file(&path, text.as_bytes())?;
        // Whatever the caller's umask, every user inside may read it.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))
            .map_err(ContainerError::at(&path))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_finished {
            // If this fails, the next sweep removes it.
            let _ = remove_tree(&self.directory);
        }
    }
}
