//! Discarded files: renamed away at once, deleted when no command waits for that.
//!
//! Files and directories are renamed into `trash/` and deleted from there, so that a kiln that is
//! killed while it deletes a large tree leaves no half of it in its place. The next kiln that empties
//! the trash deletes the rest; several may do so at once.
//!
//! On a disk without a byte or an inode left there may be no room for a name in `trash/`. Then the
//! file or directory is deleted in place; of a layer the index first, because a layer without an
//! index does not exist.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Store;
use kiln_files::{is_taken, is_there, remove_tree, unless_gone};

/// The trash of a state directory.
#[derive(Debug)]
pub struct Trash {
    store: Store,
    next: AtomicU64,
}

impl Trash {
    /// Returns the trash of `store`.
    #[must_use]
    pub fn new(store: &Store) -> Self {
        Self {
            store: store.clone(),
            next: AtomicU64::new(0),
        }
    }

    /// Takes a file or directory of the store away from where it is; says whether it was there.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn discard(&self, path: &Path) -> io::Result<bool> {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let name = format!("trash/{}-{number}", std::process::id());
            let place = self.store.path(name);
            // A file may be renamed onto a file: names that an earlier kiln left are not taken.
            if is_there(&place)? {
                continue;
            }
            return match fs::rename(path, &place) {
                Ok(()) => Ok(true),
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    // Another kiln may have made the trash since the renaming failed.
                    if !is_there(path)? {
                        return Ok(false);
                    }
                    match fs::create_dir_all(self.store.path("trash")) {
                        Err(error) if is_no_room(&error) => delete_in_place(path),
                        Err(error) => Err(error),
                        Ok(()) => continue,
                    }
                }
                Err(error) if is_no_room(&error) => delete_in_place(path),
                // One of the same number in another process namespace took the name first.
                Err(error) if is_taken(&error) => continue,
                Err(error) => Err(error),
            };
        }
    }

    /// Deletes everything in it. What cannot be deleted now is tried again next time.
    pub fn empty(&self) {
        let Ok(entries) = fs::read_dir(self.store.path("trash")) else {
            return;
        };
        for entry in entries.flatten() {
            let path = entry.path();
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let _ = if is_directory {
                remove_tree(&path)
            } else {
                fs::remove_file(&path)
            };
            self.store.count(1);
        }
    }

    /// Says whether there is something in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        fs::read_dir(self.store.path("trash")).map_or(true, |mut entries| entries.next().is_none())
    }
}

fn is_no_room(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded
    )
}

fn delete_in_place(path: &Path) -> io::Result<bool> {
    if !fs::symlink_metadata(path)?.is_dir() {
        fs::remove_file(path)?;
        return Ok(true);
    }
    unless_gone(fs::remove_file(path.join("index")))?;
    remove_tree(path).map(|()| true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The trash is made by whoever throws away first.
    #[test]
    fn threads_that_make_the_trash_leave_nothing_where_it_was() {
        for _ in 0..50 {
            let directory = tempfile::tempdir().unwrap();
            let store = Store::open(directory.path()).unwrap();
            let paths: Vec<_> = (0..4).map(|n| store.path(format!("file{n}"))).collect();
            for path in &paths {
                fs::write(path, "x").unwrap();
            }
            let trash = Trash::new(&store);
            std::thread::scope(|scope| {
                for path in &paths {
                    scope.spawn(|| assert!(trash.discard(path).unwrap()));
                }
            });
            assert!(paths.iter().all(|path| !path.exists()));
        }
    }

    #[test]
    fn a_discarded_tree_is_gone_before_it_is_deleted() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let trash = Trash::new(&store);
        assert!(trash.is_empty());
        let tree = store.path("layers/tree");
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::write(store.path("file"), "x").unwrap();
        assert!(trash.discard(&tree).unwrap());
        assert!(!trash.discard(&tree).unwrap());
        // Another kiln of the same process id, in another pid namespace.
        assert!(Trash::new(&store).discard(&store.path("file")).unwrap());
        assert!(!tree.exists() && !trash.is_empty());
        assert_eq!(fs::read_dir(store.path("trash")).unwrap().count(), 2);
        trash.empty();
        assert!(trash.is_empty());
    }
}
